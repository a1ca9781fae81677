"""Figures by group: those of the group alone; fairness by fairlearn; small groups kept back."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
)
from sklearn.metrics import average_precision_score, roc_auc_score

from ehr_models.evaluation.evaluate import Evaluation, evaluate
from ehr_models.evaluation.sample import build_sample
from ehr_models.evaluation.subgroups import FEW
from ehr_models.report.contents import publish

ROWS = 1200


def rows() -> dict:
    chance = np.random.default_rng(21)
    risk = np.clip(chance.beta(2, 6, ROWS), 0.001, 0.999)
    group = chance.choice(["a", "b", "c"], ROWS, p=[0.5, 0.3, 0.2]).astype(object)
    # Of one group the risk is underestimated.
    true_risk = np.where(group == "c", np.minimum(1, 1.6 * risk), risk)
    group[:5] = "few"
    group[5:8] = None
    return {
        "outcome": (chance.random(ROWS) < true_risk).astype(float),
        "risk": risk,
        "group": group,
        "people": chance.integers(0, 700, ROWS),
    }


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    data = rows()
    sample = build_sample(data["outcome"], data["people"], groups={"part": data["group"]})
    return evaluate(sample, {"model": data["risk"]}, model="model", alert_rate=0.2, resamples=200)


def test_a_group_has_the_figures_of_its_rows_alone(evaluation: Evaluation) -> None:
    data = rows()
    threshold = np.sort(data["risk"])[::-1][int(0.2 * ROWS) - 1]

    for group in evaluation.subgroups[0].groups:
        chosen = data["group"] == group.group
        if group.auroc is None:
            continue
        outcome, risk = data["outcome"][chosen], data["risk"][chosen]
        assert (group.rows, group.outcomes) == (chosen.sum(), outcome.sum())
        assert group.people == len(set(data["people"][chosen]))
        assert group.auroc.value == pytest.approx(roc_auc_score(outcome, risk))
        assert group.average_precision is not None
        assert group.average_precision.value == pytest.approx(
            average_precision_score(outcome, risk)
        )
        assert group.observed_over_expected is not None and group.sensitivity is not None
        assert group.observed_over_expected.value == pytest.approx(outcome.sum() / risk.sum())
        assert group.sensitivity.value == pytest.approx((risk[outcome == 1] >= threshold).mean())
        assert group.auroc.low < group.auroc.value < group.auroc.high


def test_an_underestimated_group_is_seen(evaluation: Evaluation) -> None:
    by_name = {group.group: group for group in evaluation.subgroups[0].groups}

    worst, best = by_name["c"].observed_over_expected, by_name["a"].observed_over_expected
    assert worst is not None and best is not None
    assert worst.low > 1.2
    assert best.low < 1 < best.high


def test_a_group_of_few_people_has_counts_and_no_figures(evaluation: Evaluation) -> None:
    by_name = {group.group: group for group in evaluation.subgroups[0].groups}

    # Those of five and of three rows are one, without a name.
    assert set(by_name) == {"a", "b", "c", FEW}
    assert by_name[FEW].rows == 8
    assert by_name[FEW].auroc is by_name[FEW].sensitivity is by_name[FEW].slope is None


def test_fairness_is_that_of_fairlearn_on_the_rows(evaluation: Evaluation) -> None:
    data = rows()
    threshold = np.sort(data["risk"])[::-1][int(0.2 * ROWS) - 1]
    judged = np.isin(data["group"].astype(str), ["a", "b", "c"])

    frame = MetricFrame(
        metrics={
            "selection_rate": selection_rate,
            "false_negative_rate": false_negative_rate,
            "false_positive_rate": false_positive_rate,
        },
        y_true=data["outcome"][judged],
        y_pred=data["risk"][judged] >= threshold,
        sensitive_features=data["group"][judged].astype(str),
    )

    for gap in evaluation.subgroups[0].fairness:
        assert gap.by_group == pytest.approx(frame.by_group[gap.metric].to_dict())
        assert gap.difference.value == pytest.approx(frame.difference()[gap.metric])
        assert gap.ratio == pytest.approx(frame.ratio()[gap.metric])
        assert gap.difference.low < gap.difference.high
    assert len(evaluation.subgroups[0].fairness) == 3


def test_a_group_of_few_people_is_not_named() -> None:
    groups = np.array(["cantonese"] * 590 + ["one"] * 3 + ["two"] * 7)
    people = np.arange(600)
    # Two rows of one person are one person.
    people[-1] = people[-2]
    outcome = (np.arange(600) % 3 == 0).astype(float)
    sample = build_sample(outcome, people, groups={"language": groups})
    predicted = {"model": np.linspace(0.1, 0.9, 600), "prevalence": np.full(600, 0.3)}
    found = evaluate(sample, predicted, model="model", resamples=10)

    (column,) = found.subgroups
    assert [group.group for group in column.groups] == ["cantonese", FEW]
    assert [group.rows for group in column.groups] == [590, 10]


def test_a_difference_between_groups_does_not_tell_a_share_that_is_hidden() -> None:
    # Of ten people of group b with the outcome two raise an alert: few, so the share is hidden.
    risk = np.repeat([0.9, 0.1, 0.9, 0.1], [30, 30, 2, 38])
    outcome = np.concatenate([np.tile([1.0, 0.0], 30), [1.0] * 10, [0.0] * 30])
    groups = {"part": np.repeat(["a", "b"], [60, 40])}
    sample = build_sample(outcome, np.arange(100), groups=groups)

    found = evaluate(sample, {"model": risk}, model="model", alert_rate=0.3, resamples=20)

    shown = publish(found.subgroups)[0]
    assert [group["sensitivity"] is None for group in shown["groups"]] == [False, True]
    missed = next(gap for gap in shown["fairness"] if gap["metric"] == "false_negative_rate")
    assert (missed["by_group"], missed["difference"], missed["ratio"]) == (None, None, None)
