"""Gates: what a candidate must reach before its forecasts are served instead of the reference's."""

from __future__ import annotations

from collections.abc import Sequence

from ehr_models.forecasting.evaluation import Scores, ScoreTable
from ehr_models.version_files import GateResult

__all__ = ["judge"]

# How far coverage may lie from what an interval promises.
_TOLERANCE = 0.03


def judge(scores: ScoreTable, hospitals: Sequence[str]) -> tuple[GateResult, ...]:
    """Judge the scores of a candidate.

    Better than seasonal-naive at each hospital; 80 % and 95 % intervals that hold what they promise
    within 3 points over all, and at each hospital as far as chance leaves room (its bootstrap
    interval reaches that range).
    """
    each, every = scores.each, scores.every
    return (
        _judge_errors("mase", "MASE", [own.mase for own in each], hospitals),
        _judge_errors(
            "relative-mae",
            "mean absolute error over that of seasonal-naive on the same days",
            [own.relative_mae for own in each],
            hospitals,
        ),
        *(_judge_coverage(nominal, each, every, hospitals) for nominal in every.coverage),
    )


def _judge_errors(
    gate: str, title: str, values: Sequence[float], hospitals: Sequence[str]
) -> GateResult:
    worst = max(range(len(values)), key=lambda own: values[own])
    text = f"The highest {title} is {values[worst]:.2f}, at {hospitals[worst]}; below 1 is needed."
    told = {"worst": f"{values[worst]:.2f}", "hospital": hospitals[worst]}
    return GateResult(gate, values[worst] < 1, text, gate, told)


def _judge_coverage(
    nominal: float, each: Sequence[Scores], every: Scores, hospitals: Sequence[str]
) -> GateResult:
    low, high = nominal - _TOLERANCE, nominal + _TOLERANCE
    over_all = every.coverage[nominal].value
    outside = [
        hospital
        for hospital, own in zip(hospitals, each, strict=True)
        if own.coverage[nominal].high < low or own.coverage[nominal].low > high
    ]
    text = f"{nominal:.0%} intervals held {over_all:.1%}; {low:.0%} to {high:.0%} is needed"
    if outside:
        text += f"; outside beyond chance at {', '.join(outside)}"
    is_met = low <= over_all <= high and not outside
    told = {
        "nominal": f"{nominal:.0%}",
        "held": f"{over_all:.1%}",
        "low": f"{low:.0%}",
        "high": f"{high:.0%}",
        "hospitals": ", ".join(outside),
    }
    message = "coverage-outside" if outside else "coverage"
    return GateResult(f"coverage-{nominal * 100:.0f}", is_met, f"{text}.", message, told)
