"""The gates: what an evaluation must show before a model may score a patient."""

from __future__ import annotations

from ehr_models.evaluation.bootstrap import Interval
from ehr_models.evaluation.evaluate import Evaluation
from ehr_models.evaluation.refitted import RefittedEvaluation
from ehr_models.gate_limits import GateLimits
from ehr_models.version_files import GateResult


def judge_gates(
    evaluation: Evaluation,
    refitted: RefittedEvaluation,
    limits: GateLimits,
    *,
    is_synthetic: bool,
) -> tuple[GateResult, ...]:
    """Judge every gate; what could not be measured is not met."""
    return (
        _judge_outcomes(evaluation, limits),
        _judge_comparators(evaluation),
        _judge_calibration(evaluation, limits),
        _judge_subgroups(evaluation, limits),
        _judge_membership(refitted, limits),
        _judge_leakage(evaluation, limits, is_synthetic),
    )


def _judge_outcomes(evaluation: Evaluation, limits: GateLimits) -> GateResult:
    is_met = evaluation.outcomes >= limits.minimum_outcomes
    words = "At least" if is_met else "Fewer than"
    return GateResult(
        "enough-outcomes",
        is_met,
        f"{words} {limits.minimum_outcomes} outcomes to judge by.",
        "outcomes-enough" if is_met else "outcomes-few",
        {"minimum": str(limits.minimum_outcomes)},
    )


def _judge_comparators(evaluation: Evaluation) -> GateResult:
    auroc = evaluation.performance[evaluation.model].auroc
    told = [f"AUROC {auroc}"] + [
        f"{each.auroc} above {each.comparator}" for each in evaluation.differences
    ]
    return GateResult(
        "better-than-comparators",
        evaluation.is_better_than_comparators(),
        f"{', '.join(told)}; the lower ends must be above 0.5 and above 0.",
        "comparators",
        {
            "auroc": _format(auroc),
            **{each.comparator: _format(each.auroc) for each in evaluation.differences},
        },
    )


def _judge_calibration(evaluation: Evaluation, limits: GateLimits) -> GateResult:
    calibration = evaluation.performance[evaluation.model].calibration
    slope, large = calibration.slope, calibration.in_the_large
    low, high = limits.slope
    is_met = (
        slope.low <= high
        and slope.high >= low
        and large.low <= limits.in_the_large
        and large.high >= -limits.in_the_large
    )
    return GateResult(
        "calibrated",
        bool(is_met),
        f"Calibration slope {slope}, asked between {low} and {high}; in the large {large}, asked "
        f"within {limits.in_the_large} of 0.",
        "calibration",
        {
            "slope": _format(slope),
            "low": str(low),
            "high": str(high),
            "large": _format(large),
            "limit": str(limits.in_the_large),
        },
    )


def _judge_subgroups(evaluation: Evaluation, limits: GateLimits) -> GateResult:
    below = [
        f"{column.column} {group.group}"
        for column in evaluation.subgroups
        for group in column.groups
        if group.auroc is not None and group.auroc.high < limits.subgroup_auroc
    ]
    judged = any(group.auroc for column in evaluation.subgroups for group in column.groups)
    if not judged:
        text = "No group has enough people to be judged."
        return GateResult("subgroups", False, text, "subgroups-unjudged")
    text = f"Below an AUROC of {limits.subgroup_auroc}: {', '.join(below) or 'no group'}."
    return GateResult(
        "subgroups",
        not below,
        text,
        "subgroups-below" if below else "subgroups-served",
        {"limit": str(limits.subgroup_auroc), "groups": ", ".join(below)},
    )


def _judge_membership(refitted: RefittedEvaluation, limits: GateLimits) -> GateResult:
    if refitted.membership is None:
        text = "Too few people for the membership attacks."
        return GateResult("membership", False, text, "membership-few")
    attacks = refitted.membership.attacks
    told = ", ".join(f"by {each.name} {each.auroc}" for each in attacks)
    return GateResult(
        "membership",
        all(each.auroc.low <= limits.membership_auroc for each in attacks),
        f"AUROC of the attacks on who was learnt from: {told}; chance is 0.5, the lower end may "
        f"not be above {limits.membership_auroc:g}.",
        "membership",
        {
            "limit": f"{limits.membership_auroc:g}",
            **{each.name: _format(each.auroc) for each in attacks},
        },
    )


def _judge_leakage(evaluation: Evaluation, limits: GateLimits, is_synthetic: bool) -> GateResult:
    suspected = evaluation.suspects_leakage(is_synthetic, limits.leakage_auroc)
    kind = "synthetic" if is_synthetic else "real"
    auroc = evaluation.performance[evaluation.model].auroc.value
    limit = f"{limits.leakage_auroc:.2f}"
    return GateResult(
        "no-leakage",
        not suspected,
        f"AUROC {auroc:.3f} on {kind} data; above {limit} on synthetic data the model "
        "has found the generator's rules or the future, until that is explained.",
        f"leakage-{kind}",
        {"auroc": f"{auroc:.3f}", "limit": limit},
    )


def _format(interval: Interval) -> str:
    """Return an estimate with its interval without words.

    >>> _format(Interval(0.02, -0.03, 0.07))
    '0.020 (−0.030 – 0.070)'
    """
    value, low, high = (
        f"{each:.3f}".replace("-", "−") for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} – {high})"
