"""Analyses against published figures: R's `survival` on its data set lung, textbook tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ehr_analytics.analyses import associations, descriptive, survival, time_series
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.analyses.survival_curves import fit_cox, kaplan_meier_curve, logrank_test
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.classes import find_class
from ehr_fhir.errors import Unprocessable
from tests.conftest import ROOT
from tests.lib.cohort_tables import frame_of

YES_NO = ("yes", "no")


@pytest.fixture(scope="module")
def lung() -> CohortFrame:
    """Return R's lung (Loprinzi et al., 1994): 228 people with advanced lung cancer."""
    with (ROOT / "tests" / "data" / "lung.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return frame_of(
        {
            "sex": ["male" if row["sex"] == "1" else "female" for row in rows],
            "age": [int(row["age"]) for row in rows],
            "ecog": [float(row["ph.ecog"]) if row["ph.ecog"] else None for row in rows],
            "death": ["yes" if row["status"] == "1" else "no" for row in rows],
            "death_days": [int(row["time"]) for row in rows],
        },
        {"sex": ("male", "female"), "death": YES_NO},
    )


def value(cells: Sequence[Cell], **labels: str) -> Any:
    found = [
        cell
        for cell in cells
        if all(dict(cell.labels).get(name) == label for name, label in labels.items())
    ]
    assert len(found) == 1, [cell.labels for cell in found]
    return found[0].value


def test_kaplan_meier_gives_what_r_prints_of_lung(lung: CohortFrame) -> None:
    # print(survfit(Surv(time, status) ~ 1, data = lung)): n 228, events 165, median 310;
    # summary(..., times = 365): 65 at risk, survival 0.409, 95 % interval 0.345 to 0.486.
    cells = survival.kaplan_meier(lung, "km", "death", [365, 900])

    assert value(cells, day="365", measure="at risk") == 65
    assert value(cells, day="365", measure="survival") == pytest.approx(0.409, abs=5e-4)
    assert value(cells, day="365", measure="lower limit") == pytest.approx(0.345, abs=5e-4)
    assert value(cells, day="365", measure="upper limit") == pytest.approx(0.486, abs=5e-4)
    assert value(cells, measure="median") == 310
    # Two people are at risk after 900 days: no point of the curve is shown there.
    assert not [cell for cell in cells if dict(cell.labels)["day"] == "900"]


def test_curves_by_sex_and_the_log_rank_test_are_those_of_r(lung: CohortFrame) -> None:
    # survfit(Surv(time, status) ~ sex): medians 270 and 426; survdiff: chi-square 10.3, p 0.001.
    cells = survival.kaplan_meier(lung, "km", "death", [100], by=["sex"])

    assert value(cells, sex="male", measure="median") == 270
    assert value(cells, sex="female", measure="median") == 426
    assert value(cells, measure="log-rank chi-square, 1 df") == pytest.approx(10.3, abs=0.05)
    assert value(cells, measure="log-rank p") == pytest.approx(0.0013, abs=5e-5)


def test_cox_gives_what_r_prints_of_lung(lung: CohortFrame) -> None:
    # coxph(Surv(time, status) ~ sex): coef -0.5310, exp(coef) 0.5880 (0.4237, 0.816), p 0.00149.
    cells = survival.cox(lung, "cox", "death", ["sex"])

    assert value(cells, measure="hazard ratio") == pytest.approx(0.5880, abs=5e-5)
    assert value(cells, measure="lower limit") == pytest.approx(0.4237, abs=5e-5)
    assert value(cells, measure="upper limit") == pytest.approx(0.816, abs=5e-4)
    assert value(cells, measure="p") == pytest.approx(0.00149, abs=5e-6)


def test_cox_of_three_columns_leaves_out_who_has_no_value(lung: CohortFrame) -> None:
    # coxph(Surv(time, status) ~ age + sex + ph.ecog): n 227, events 164; coefficients 0.011067,
    # -0.552612, 0.463728; standard errors 0.009267, 0.167739, 0.113577.
    cells = survival.cox(lung, "cox", "death", ["age", "sex", "ecog"])

    assert value(cells, term="all", measure="people") == 227
    assert value(cells, term="all", measure="with event") == 164
    for term, coefficient, error in (
        ("age", 0.011067, 0.009267),
        ("sex: female", -0.552612, 0.167739),
        ("ecog", 0.463728, 0.113577),
    ):
        ratio = value(cells, term=term, measure="hazard ratio")
        upper = value(cells, term=term, measure="upper limit")
        assert math.log(ratio) == pytest.approx(coefficient, abs=1e-6)
        assert math.log(upper / ratio) / 1.959964 == pytest.approx(error, abs=1e-6)


def test_incidence_gives_person_years_and_an_exact_interval(lung: CohortFrame) -> None:
    # 165 deaths in 69,593 days; limits of 165 by Garwood: 140.8 and 192.2.
    cells = survival.incidence(lung, "incidence", "death")
    years = 69_593 / 365.25

    assert value(cells, measure="with event") == 165
    assert value(cells, measure="person-years") == pytest.approx(years)
    assert value(cells, measure="rate") == pytest.approx(165_000 / years)
    assert value(cells, measure="rate, lower limit") == pytest.approx(140_785 / years, rel=1e-4)
    assert value(cells, measure="rate, upper limit") == pytest.approx(192_185 / years, rel=1e-4)


def test_ratios_are_those_of_the_physicians_health_study() -> None:
    # Steering Committee, NEJM 1989; Agresti, Categorical Data Analysis, table 2.3: myocardial
    # infarction in 189 of 11,034 on placebo and 104 of 11,037 on aspirin. Relative risk 1.82
    # (1.43, 2.30), odds ratio 1.83 (1.44, 2.33).
    groups = [("yes", "yes", 189), ("yes", "no", 10_845), ("no", "yes", 104), ("no", "no", 10_933)]
    frame = frame_of(
        {
            "placebo": [e for e, _, size in groups for _ in range(size)],
            "infarction": [o for _, o, size in groups for _ in range(size)],
        },
        {"placebo": YES_NO, "infarction": YES_NO},
    )

    cells = associations.drug_outcome_pairs(frame, "pairs", ["placebo"], ["infarction"])

    assert value(cells, measure="exposed, with") == 189
    assert value(cells, measure="risk ratio") == pytest.approx(1.82, abs=5e-3)
    assert value(cells, measure="risk ratio, lower limit") == pytest.approx(1.43, abs=5e-3)
    assert value(cells, measure="risk ratio, upper limit") == pytest.approx(2.30, abs=1e-2)
    assert value(cells, measure="odds ratio") == pytest.approx(1.83, abs=5e-3)
    assert value(cells, measure="odds ratio, lower limit") == pytest.approx(1.44, abs=5e-3)
    assert value(cells, measure="odds ratio, upper limit") == pytest.approx(2.33, abs=5e-3)


def test_propensity_matching_takes_away_confounding() -> None:
    # Made up: age drives both treatment and death; the treatment itself takes 10 % points away.
    chance = np.random.default_rng(5)
    size = 6_000
    age = chance.uniform(40, 90, size)
    treated = chance.random(size) < 1 / (1 + np.exp(-(age - 85) / 10))
    ill = chance.random(size) < 0.15 + (age - 40) / 100 - 0.10 * treated
    frame = frame_of(
        {
            "age": age.tolist(),
            "treated": ["yes" if flag else "no" for flag in treated],
            "death": ["yes" if flag else "no" for flag in ill],
        },
        {"treated": YES_NO, "death": YES_NO},
    )

    cells = associations.propensity(frame, "match", "treated", "death", ["age"])

    assert value(cells, row="age", phase="before") > 0.5
    assert abs(value(cells, row="age", phase="after")) < 0.1
    assert value(cells, row="death", phase="before", measure="risk difference") > -0.05
    assert value(cells, row="death", phase="after", measure="risk difference") == pytest.approx(
        -0.10, abs=0.03
    )
    pairs = [value(cells, row="people", phase="after", measure=m) for m in ("treated", "untreated")]
    assert pairs[0] == pairs[1] > 500


def test_matching_is_the_greedy_one() -> None:
    # The same by looking at everybody each time.
    chance = np.random.default_rng(3)
    for _ in range(30):
        logits = chance.normal(size=60).round(1)
        treated = chance.random(60) < 0.4
        caliper = 0.2 * logits.std(ddof=1)
        free = list(np.flatnonzero(~treated))
        distances = []
        for person in sorted(np.flatnonzero(treated), key=lambda p: (-logits[p], p)):
            near = min(free, key=lambda p: abs(logits[p] - logits[person]), default=None)
            if near is not None and abs(logits[near] - logits[person]) <= caliper:
                free.remove(near)
                distances.append(abs(logits[near] - logits[person]))

        pairs = associations.match_nearest(logits, treated)

        found = [abs(logits[a] - logits[b]) for a, b in pairs]
        assert len(set(pairs.ravel())) == 2 * len(pairs)
        assert len(found) == pytest.approx(len(distances), abs=2)


def test_matching_gives_the_balance_that_matchit_documents() -> None:
    # R's MatchIt, "Getting Started": matchit(treat ~ age + educ + race + married + nodegree + re74
    # + re75, data = lalonde), nearest neighbour without a caliper. Means of the score and of the
    # covariates among the matched controls, and standardised differences before matching.
    with (ROOT / "tests" / "data" / "lalonde.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    treated = np.array([row["treat"] == "1" for row in rows])
    columns = ("age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75")
    values = np.array([[float(row[column]) for column in columns] for row in rows])

    logits = associations.fit_logistic(values, treated)
    pairs = associations.match_nearest(logits, treated, caliper=math.inf)

    scores = 1 / (1 + np.exp(-logits))
    assert scores[treated].mean() == pytest.approx(0.5774, abs=5e-5)
    assert scores[~treated].mean() == pytest.approx(0.1822, abs=5e-5)
    assert len(pairs) == 185 and scores[pairs[:, 1]].mean() == pytest.approx(0.3629, abs=5e-5)
    assert values[pairs[:, 1]].mean(axis=0) == pytest.approx(
        [25.3027, 10.6054, 0.4703, 0.2162, 0.2108, 0.6378, 2342.1076, 1614.7451], abs=5e-5
    )
    frame = frame_of(
        {
            "treat": ["yes" if flag else "no" for flag in treated],
            "poor": ["yes" if float(row["re78"]) < 1000 else "no" for row in rows],
            **dict(zip(columns, values.T.tolist(), strict=True)),
        },
        {"treat": YES_NO, "poor": YES_NO},
    )
    cells = associations.propensity(frame, "match", "treat", "poor", columns)
    for column, before in (
        ("age", -0.3094),
        ("educ", 0.0550),
        ("re74", -0.7211),
        ("re75", -0.2903),
    ):
        assert value(cells, row=column, phase="before") == pytest.approx(before, abs=5e-5)


@pytest.fixture(scope="module")
def sicily() -> dict[str, Any]:
    """Return coronary events in Sicily by month, 2002 to 2006; a smoking ban from the 37th on."""
    with (ROOT / "tests" / "data" / "sicily.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        "events": np.array([float(row["aces"]) for row in rows]),
        "population": np.array([float(row["stdpop"]) for row in rows]),
        "months": tuple(f"{row['year']}-{int(row['month']):02}" for row in rows),
        "ban": np.array([float(row["smokban"]) for row in rows]),
    }


# Figures of statsmodels 0.14 for the models of the paper's own code (Bernal et al. 2017), whose
# text says: 11 % fewer events after the ban. Ratio and its limits, of the ban and of a month.
@pytest.mark.parametrize(
    ("harmonics", "ban", "trend", "dispersion"),
    [
        (0, (0.894376508, 0.839189012, 0.953193294), 1.00495724, 3.55918677),
        (2, (0.885071547, 0.839400970, 0.933226994), 1.00540377, 2.26218264),
    ],
)
def test_a_smoking_ban_has_the_published_effect(
    sicily: dict[str, Any],
    harmonics: int,
    ban: tuple[float, float, float],
    trend: float,
    dispersion: float,
) -> None:
    time = np.arange(1.0, 60.0)
    rows = np.column_stack([np.ones(59), sicily["ban"], time])
    if harmonics:
        seasons = time_series.build_seasonal_terms(sicily["months"], harmonics)
        rows = np.hstack([rows, seasons])

    model = time_series.fit_quasi_poisson(sicily["events"], rows, sicily["population"])

    assert (np.exp(model.coefficients[1]), *model.interval(1)) == pytest.approx(ban, abs=1e-8)
    assert np.exp(model.coefficients[2]) == pytest.approx(trend, abs=1e-8)
    assert model.dispersion == pytest.approx(dispersion, abs=1e-7)


def test_an_interrupted_series_is_what_statsmodels_makes_of_it(sicily: dict[str, Any]) -> None:
    # statsmodels 0.14: GLM, Poisson, scale X2, counts alone, the same four terms and the season.
    seasons = time_series.build_seasonal_terms(sicily["months"], 2)

    model = time_series.fit_interrupted_poisson(sicily["events"], 36, seasons)

    assert np.exp(model.coefficients[1:4]) == pytest.approx(
        [1.00582236, 0.877812305, 1.00165803], abs=1e-8
    )
    assert model.interval(2) == pytest.approx((0.829156292, 0.929323519), abs=1e-8)
    assert model.p_value(3) == pytest.approx(0.372056087, abs=1e-8)


def test_an_interrupted_series_finds_the_step_that_is_there() -> None:
    # A series without noise: 2 % more a month, then a fifth less.
    counts = np.array([500 * 1.02**t * (0.8 if t >= 25 else 1.0) for t in range(40)])

    model = time_series.fit_interrupted_poisson(counts, 25)

    assert np.exp(model.coefficients[1:]) == pytest.approx([1.02, 0.8, 1.0], abs=1e-6)
    low, high = model.interval(2)
    assert low < 0.8 < high < 1 and model.p_value(2) < 1e-6


def test_a_season_needs_months_or_quarters_and_few_harmonics() -> None:
    quarters = tuple(f"{year}-Q{quarter}" for year in (2020, 2021) for quarter in (1, 2, 3, 4))

    assert time_series.build_seasonal_terms(quarters, 1)[:, 0] == pytest.approx(
        [1, 0, -1, 0] * 2, abs=1e-12
    )
    for periods, harmonics in ((("2020", "2021"), 1), (quarters, 2), (quarters, -1)):
        with pytest.raises(Unprocessable):
            time_series.build_seasonal_terms(periods, harmonics)


def test_table_one_and_distributions_have_no_extreme_value(lung: CohortFrame) -> None:
    cells = descriptive.table_one(lung, "one", ["age", "sex"], group="death")

    # By R: mean(lung$age[lung$status == 2]) is 63.3.
    assert value(cells, death="yes", row="age", measure="mean") == pytest.approx(63.3, abs=0.05)
    assert value(cells, death="yes", row="sex: female", measure="people") == 53
    assert {cell.statistic for cell in cells} == {
        "frequency", "mean", "standard-deviation", "quantile", "median", "proportion",
    }  # fmt: skip
    assert len(descriptive.distribution(lung, "age", "age", "years", by=["sex"])) == 12


def test_every_cell_is_of_a_class_that_the_control_knows(lung: CohortFrame) -> None:
    cells = [
        *descriptive.counts(lung, "counts", ["sex"]),
        *descriptive.prevalence(lung, "prevalence", "death", ["sex"]),
        *descriptive.sums(lung, "sums", "death_days", "days"),
        *descriptive.attrition(lung),
        *survival.incidence(lung, "incidence", "death", ["sex"]),
        *survival.kaplan_meier(lung, "km", "death", [90, 180], ["sex"]),
        *survival.cox(lung, "cox", "death", ["sex", "age"]),
        *associations.two_by_two(lung, "pair", "death", "death"),
    ]

    assert {find_class(cell.statistic).way for cell in cells} == {"rule"}
    for cell in cells:
        if cell.contributions is None:
            assert cell.unit == "persons" and cell.value == len(cell.persons)


def test_a_number_is_no_label_and_labels_are_bounded(lung: CohortFrame) -> None:
    with pytest.raises(Unprocessable, match="no label"):
        descriptive.counts(lung, "ages", ["age"])
    wide = frame_of(
        {"a": ["x"], "b": ["x"]}, {name: tuple(f"{n}" for n in range(100)) for name in "ab"}
    )
    with pytest.raises(Unprocessable, match="combinations"):
        descriptive.counts(wide, "wide", ["a", "b"])


def test_what_separates_people_has_no_model(lung: CohortFrame) -> None:
    happened = np.array([True] * 20 + [False] * 20)
    times = np.arange(40, dtype=float) + 1

    with pytest.raises(Unprocessable, match="finite"):
        fit_cox(times, happened, happened[:, None].astype(float))
    with pytest.raises(Unprocessable, match="two groups"):
        logrank_test(times, happened, np.zeros(40, dtype=np.int64))
    assert kaplan_meier_curve(times, np.zeros(40, dtype=bool)).survival_at(10) == 1.0
