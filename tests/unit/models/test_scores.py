"""LACE, HOSPITAL, Charlson and NEWS2: worked examples, what is unknown, and whole frames."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_fhir.errors import Unprocessable
from ehr_fhir.news2 import PARAMETERS, Signs, work_out
from ehr_models.scores.cha2ds2_vasc import WITHOUT_SEX, score_cha2ds2_vasc
from ehr_models.scores.charlson import (
    CLASSIC,
    LACE_BMJ_OPEN,
    LACE_CMAJ,
    find_conditions,
    get_weights,
    list_versions,
    score_charlson,
)
from ehr_models.scores.egfr import UMOL_PER_MG, estimate_gfr, round_gfr
from ehr_models.scores.hospital import SIMPLIFIED, HospitalSettings, score_hospital
from ehr_models.scores.lace import (
    BOTH_DAYS,
    COMORBIDITY,
    MODIFIED,
    LaceSettings,
    count_days,
    score_lace,
)
from ehr_models.scores.qsofa import score_qsofa
from ehr_models.scores.rows import (
    score_charlson_rows,
    score_hospital_rows,
    score_lace_rows,
    score_news2_rows,
)

ROWS = settings(max_examples=15)


@pytest.mark.parametrize(
    ("days", "acute", "codes", "visits", "points", "total"),
    [
        (5, True, 5, 2, (4, 3, 5, 2), 14),
        (2, False, 0, 0, (2, 0, 0, 0), 2),
        (14, True, ["I50.0", "F03"], 6, (7, 3, 5, 4), 19),
        (0.4, True, ["I25.2"], 1, (0, 3, 1, 1), 5),
    ],
)
def test_the_worked_examples_of_lace(
    days: float, acute: bool, codes: Any, visits: int, points: tuple[int, ...], total: int
) -> None:
    known = (
        codes
        if isinstance(codes, int)
        else score_charlson(find_conditions(codes), LACE_BMJ_OPEN).total
    )
    score = score_lace(days, acute, known, visits)
    assert tuple(score.points.values()) == points
    assert score.total == total
    assert score.is_high is (total >= 10)


def test_lace_without_a_problem_list_is_a_lower_bound() -> None:
    comorbidity = score_charlson(None, LACE_BMJ_OPEN).total
    score = score_lace(5, True, comorbidity, 2)
    assert (score.total, score.lower_bound, score.missing) == (None, 9, (COMORBIDITY,))
    assert not score.is_high
    # What is known already reaches the line.
    assert score_lace(14, True, None, 0).is_high


def test_what_sources_leave_open_in_lace_is_a_setting() -> None:
    modified = LaceSettings(points=MODIFIED)
    assert score_lace(14, False, 0, 0).total == 7
    assert score_lace(14, False, 0, 0, modified).total == 6
    stay = date(2026, 1, 30), date(2026, 2, 3)
    assert (count_days(*stay), count_days(*stay, LaceSettings(days=BOTH_DAYS))) == (4, 5)
    within_a_day = stay[0], stay[0]
    assert count_days(*within_a_day) == 0
    assert count_days(*within_a_day, LaceSettings(days=BOTH_DAYS)) == 1
    for wrong in ({"days": "hours"}, {"points": "other"}):
        with pytest.raises(Unprocessable):
            LaceSettings(**wrong)


def hospital(*row: float | None, **more: Any) -> Any:
    """Return the score of haemoglobin, oncology, sodium, procedure, urgent, admissions, days."""
    names = ("haemoglobin", "oncology", "sodium", "procedure", "urgent", "admissions", "days")
    items: dict[str, Any] = dict(zip(names, row, strict=True))
    return score_hospital(**items, **more)


@pytest.mark.parametrize(
    ("row", "version", "points", "total", "risk"),
    [
        ((10.5, 0, 138, 0, 1, 0, 3), "2", (1, 0, 0, 0, 1, 0, 0), 2, "low"),
        ((11.9, 1, 134, 1, 1, 6, 5), "2", (1, 2, 1, 1, 1, 5, 2), 13, "high"),
        ((13, 0, 133, 0, 1, 1, 7), "1", (0, 0, 1, 0, 1, 2, 2), 6, "intermediate"),
        ((13, 0, 133, 0, 1, 1, 7), "2", (0, 0, 1, 0, 1, 0, 2), 4, "low"),
    ],
)
def test_the_worked_examples_of_hospital(
    row: tuple[float, ...], version: str, points: tuple[int, ...], total: int, risk: str
) -> None:
    score = hospital(*row, settings=HospitalSettings(version))
    assert tuple(score.points.values()) == points
    assert (score.total, score.risk) == (total, risk)


def test_the_simplified_form_asks_for_no_procedure() -> None:
    score = hospital(13, 1, 140, None, 0, 0, 1, settings=HospitalSettings(form=SIMPLIFIED))
    assert score.total == 2 and "procedure" not in score.points
    assert hospital(13, 1, 140, None, 0, 0, 1).missing == ("procedure",)
    for wrong in ({"version": "3"}, {"form": "short"}):
        with pytest.raises(Unprocessable):
            HospitalSettings(**wrong)


def test_a_haemoglobin_in_the_wrong_unit_is_unknown_not_normal() -> None:
    # 105 g/L taken for g/dL would be far above the line.
    score = hospital(105, 0, 138, 0, 1, 0, 3)
    assert score.missing == ("haemoglobin",) and score.total is None
    assert score.risk is None


@pytest.mark.parametrize(
    ("codes", "lace", "classic"),
    [
        (["I21.9", "I50.9"], 3, 2),
        (["E11.2", "E11.9"], 2, 2),
        (["C50.9", "C78.0"], 6, 6),
        (["F03", "J44.9"], 5, 2),
        (["K70.3", "K70.4"], 4, 3),
        (["i214", " E112 "], 3, 3),
        (["J06.9"], 0, 0),
    ],
)
def test_the_worked_examples_of_charlson(codes: list[str], lace: int, classic: int) -> None:
    problems = find_conditions(codes)
    assert score_charlson(problems, LACE_BMJ_OPEN).total == lace
    assert score_charlson(problems, CLASSIC).total == classic


def test_the_unsettled_lines_of_charlson_differ_by_version() -> None:
    ulcer, kidney = find_conditions(["K25.0"]), find_conditions(["N18.5"])
    assert [score_charlson(ulcer, v).total for v in list_versions()] == [1, 1, 0]
    assert [score_charlson(kidney, v).total for v in list_versions()] == [2, 2, 4]
    assert get_weights(LACE_CMAJ)["renal_mild"] == 2
    with pytest.raises(Unprocessable):
        get_weights("classic")


def test_codes_that_are_not_icd_10_leave_a_lower_bound() -> None:
    score = score_charlson(find_conditions(["I50.9", "44054006"]))
    assert (score.total, score.lower_bound) == (None, 1)
    assert score_charlson(None).total is None
    # An empty list was read, and says that there is nothing.
    assert score_charlson(find_conditions([])).total == 0


@pytest.mark.parametrize(
    ("sex", "age", "creatinine", "unrounded", "shown"),
    [
        ("female", 55, 0.9, 75.499, 75),
        ("female", 55, 80 / UMOL_PER_MG, 75.001, 75),
        ("male", 50, 1.0, 91.691, 92),
        ("male", 80, 2.5, 25.338, 25),
        ("female", 40, 0.5, 121.519, 122),
    ],
)
def test_the_worked_examples_of_the_filtration_rate(
    sex: str, age: int, creatinine: float, unrounded: float, shown: int
) -> None:
    rate = estimate_gfr(creatinine, age, sex)
    assert rate == pytest.approx(unrounded, abs=0.0006)
    assert round_gfr(rate or 0) == shown
    assert estimate_gfr(creatinine, age, "other") is None
    assert estimate_gfr(creatinine, 17, sex) is None and estimate_gfr(0, age, sex) is None


def test_the_worked_examples_of_qsofa() -> None:
    assert score_qsofa(22, 100, 15).total == 2
    assert score_qsofa(21, 101, 14).total == 1
    assert score_qsofa(30, 90, 13).total == 3
    unknown = score_qsofa(30, 90, None)
    assert (unknown.total, unknown.lower_bound, unknown.missing) == (None, 2, ("mentation",))


@pytest.mark.parametrize(
    ("age", "female", "present", "total"),
    [
        (64, False, ("heart_failure", "hypertension", "diabetes", "stroke"), 5),
        (76, True, ("hypertension",), 4),
        (65, False, (), 1),
    ],
)
def test_the_worked_examples_of_cha2ds2_vasc(
    age: int, female: bool, present: tuple[str, ...], total: int
) -> None:
    names = ("heart_failure", "hypertension", "diabetes", "stroke", "vascular_disease")
    answers: dict[str, Any] = {name: name in present for name in names}
    assert score_cha2ds2_vasc(age=age, female=female, **answers).total == total
    without = score_cha2ds2_vasc(age=age, female=female, **answers, form=WITHOUT_SEX)
    assert without.total == total - female
    answers["stroke"] = None
    assert score_cha2ds2_vasc(age=age, female=female, **answers).missing == ("stroke",)


def nan(value: Any) -> float | None:
    """Return None for NaN."""
    return None if value is None or value != value else value


COUNT = st.none() | st.integers(-1, 20)
YES = st.none() | st.integers(0, 1)


@ROWS
@given(st.lists(st.tuples(st.none() | st.floats(-2, 30), YES, COUNT, COUNT), min_size=1))
def test_lace_of_a_frame_is_that_of_each_row(rows: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["days", "acute", "comorbidity", "visits"])
    for setting in (LaceSettings(), LaceSettings(points=MODIFIED)):
        found = score_lace_rows(frame, setting)
        for row, scored in zip(rows, found.to_dict("records"), strict=True):
            days, acute, comorbidity, visits = row
            acute = None if acute is None else bool(acute)
            one = score_lace(days, acute, comorbidity, visits, setting)
            assert {name: nan(scored[name]) for name in one.points} == one.points
            assert (nan(scored["total"]), scored["lower_bound"]) == (one.total, one.lower_bound)


HOSPITAL_ROW = st.tuples(
    st.none() | st.floats(0, 200), YES, st.none() | st.floats(0, 400), YES, YES, COUNT, COUNT
)


@ROWS
@given(st.lists(HOSPITAL_ROW, min_size=1), st.sampled_from("12"), st.booleans())
def test_hospital_of_a_frame_is_that_of_each_row(
    rows: list[tuple[Any, ...]], version: str, simplified: bool
) -> None:
    columns = ["haemoglobin", "oncology", "sodium", "procedure", "urgent", "admissions", "days"]
    form = HospitalSettings(version, SIMPLIFIED) if simplified else HospitalSettings(version)
    found = score_hospital_rows(pd.DataFrame(rows, columns=columns), form)
    for row, scored in zip(rows, found.to_dict("records"), strict=True):
        one = hospital(*row, settings=form)
        assert {name: nan(scored[name]) for name in one.points} == one.points
        assert (nan(scored["total"]), scored["lower_bound"]) == (one.total, one.lower_bound)


VERSIONS = st.sampled_from(list_versions())
CODES = st.sampled_from(
    ["I21.0", "I50.0", "E11.9", "E11.2", "C50", "C78", "K70.0", "K70.4", "N18", "X", "J06.9"]
)


@ROWS
@given(st.lists(st.lists(CODES, max_size=5), min_size=1, max_size=5), VERSIONS)
def test_charlson_of_a_frame_is_that_of_each_row(lists: list[list[str]], version: str) -> None:
    pairs = [(owner, code) for owner, codes in enumerate(lists) for code in codes]
    codes = pd.DataFrame(pairs, columns=["owner", "code"])
    found = score_charlson_rows(codes, range(len(lists)), version)
    for owner, told in enumerate(lists):
        # No code at all is no problem list.
        one = score_charlson(find_conditions(told) if told else None, version)
        assert nan(found.loc[owner, "total"]) == one.total
        assert found.loc[owner, "lower_bound"] == one.lower_bound


SIGNS = st.builds(
    Signs,
    respiration=st.none() | st.floats(0, 60),
    saturation=st.none() | st.floats(50, 100),
    oxygen=st.none() | st.booleans(),
    systolic=st.none() | st.floats(40, 260),
    pulse=st.none() | st.floats(20, 200),
    consciousness=st.none() | st.sampled_from("ACVPU"),
    temperature=st.none() | st.floats(30, 42) | st.sampled_from([38.04, 38.05, 39.05, 36.05]),
    uses_scale_2=st.booleans(),
)


@ROWS
@given(st.lists(SIGNS, min_size=1))
def test_news2_of_a_frame_is_that_of_each_row(rounds: list[Signs]) -> None:
    found = score_news2_rows(pd.DataFrame([vars(signs) for signs in rounds]))
    for signs, scored in zip(rounds, found.to_dict("records"), strict=True):
        one = work_out(signs)
        assert {name: nan(scored[name]) for name in PARAMETERS} == one.points
        assert (nan(scored["total"]), scored["lower_bound"]) == (one.total, one.lower_bound)
        assert scored["has_single_3"] == one.has_single_3


def test_the_scores_of_one_person_need_no_pandas() -> None:
    code = (
        "import sys; import ehr_models.scores.lace, ehr_models.scores.hospital,"
        " ehr_models.scores.charlson; print('pandas' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
