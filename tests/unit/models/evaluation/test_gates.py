"""A gate opens only where the evaluation shows what it asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ehr_models.evaluation.bootstrap import Interval
from ehr_models.evaluation.evaluate import Evaluation, evaluate
from ehr_models.evaluation.gates import judge_gates
from ehr_models.evaluation.refits import Predict
from ehr_models.evaluation.refitted import RefittedEvaluation, evaluate_refits
from ehr_models.evaluation.sample import FloatArray, IntArray, build_sample
from ehr_models.gate_limits import GateLimits

Judged = tuple[Evaluation, RefittedEvaluation]


def fit(features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
    model = LogisticRegression().fit(features, outcome)
    return lambda rows: model.predict_proba(rows.fillna(0))[:, 1]


@pytest.fixture(scope="module")
def judged() -> Judged:
    chance = np.random.default_rng(51)
    features = pd.DataFrame(chance.normal(size=(1500, 2)), columns=["a", "b"])
    risk = 1 / (1 + np.exp(1.5 - features.to_numpy() @ [1.0, 0.5]))
    outcome = (chance.random(1500) < risk).astype(float)
    sample = build_sample(outcome, range(1500), groups={"sex": chance.choice(["f", "m"], 1500)})
    score = 1 / (1 + np.exp(1.5 - features["b"].to_numpy()))
    evaluation = evaluate(sample, {"model": risk, "score": score}, model="model", resamples=50)
    refitted = evaluate_refits(features, sample, fit, horizon=pd.Timedelta(days=1), resamples=50)
    return evaluation, refitted


def unmet(judged: Judged, limits: GateLimits | None = None, *, is_synthetic: bool = True) -> set:
    gates = judge_gates(*judged, limits or GateLimits(), is_synthetic=is_synthetic)
    return {gate.gate for gate in gates if not gate.is_met}


def test_a_good_model_passes_every_gate(judged: Judged) -> None:
    gates = judge_gates(*judged, GateLimits(), is_synthetic=True)

    assert [gate.text for gate in gates if not gate.is_met] == []
    assert len(gates) == 6


def test_each_fault_closes_its_gate(judged: Judged) -> None:
    evaluation, refitted = judged
    own = evaluation.performance["model"]
    high = replace(own, auroc=Interval(0.85, 0.8, 0.9))
    shrunk = replace(own, calibration=replace(own.calibration, slope=Interval(0.5, 0.4, 0.6)))

    assert unmet(judged, GateLimits(minimum_outcomes=10_000)) == {"enough-outcomes"}
    assert unmet(judged, GateLimits(subgroup_auroc=0.99)) == {"subgroups"}
    equal = replace(evaluation.differences[0], auroc=Interval(0.01, -0.01, 0.03))
    assert unmet((replace(evaluation, differences=(equal,)), refitted)) == {
        "better-than-comparators"
    }
    assert unmet((replace(evaluation, performance={"model": shrunk}), refitted)) == {"calibrated"}
    assert unmet((replace(evaluation, performance={"model": high}), refitted)) == {"no-leakage"}
    assert not unmet(
        (replace(evaluation, performance={"model": high}), refitted), is_synthetic=False
    )


def test_what_was_not_measured_is_not_met(judged: Judged) -> None:
    evaluation, _ = judged
    nothing = RefittedEvaluation(None, None, None, None)

    assert unmet((replace(evaluation, subgroups=()), nothing)) == {"subgroups", "membership"}


def test_a_model_that_remembers_is_kept_out(judged: Judged) -> None:
    evaluation, refitted = judged
    assert refitted.membership is not None
    attack = replace(refitted.membership.attacks[0], auroc=Interval(0.6, 0.58, 0.62))
    found = replace(refitted, membership=replace(refitted.membership, attacks=(attack,)))

    trace = replace(attack, auroc=Interval(0.516, 0.509, 0.525))
    near = replace(refitted, membership=replace(refitted.membership, attacks=(trace,)))

    assert unmet((evaluation, found)) == {"membership"}
    # At chance is what an interval is that contains a half.
    assert unmet((evaluation, near)) == {"membership"}
    assert unmet((evaluation, near), GateLimits(membership_auroc=0.52)) == set()
    chance = replace(attack, auroc=Interval(0.508, 0.499, 0.517))
    even = replace(refitted, membership=replace(refitted.membership, attacks=(chance,)))
    assert unmet((evaluation, even)) == set()
