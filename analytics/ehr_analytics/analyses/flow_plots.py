"""The flow of a cohort's people from step to step, as CONSORT and RECORD draw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ehr_analytics.analyses.chart_style import COLOURS
from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["draw_attrition"]

_MAX_STEPS = 30


def draw_attrition(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw a box for the people left after each step, and beside it one for those taken out.

    Any: matplotlib's axes.
    """
    steps: dict[str, dict[str, float | None]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        steps.setdefault(labels["step"], {})[labels["measure"]] = controlled.shown
    if len(steps) > _MAX_STEPS or not any(controlled.shown for controlled in cells):
        return False
    figure.set_size_inches(8, 1.2 + 0.95 * len(steps))
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(len(steps) - 0.4, -0.6)
    for place, (step, counts) in enumerate(steps.items()):
        if place:
            arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1}
            axes.annotate("", (2.6, place - 0.27), (2.6, place - 0.73), arrowprops=arrow)
        if "taken out" in counts:
            axes.annotate("", (5.7, place - 0.5), (2.6, place - 0.5), arrowprops=arrow)
            text = f"taken out: {_number(counts['taken out'])}"
            _draw_box(axes, 7.6, place - 0.5, text, COLOURS[1])
        text = f"{step.replace('_', ' ')}\n{_number(counts.get('left'), ' people')}"
        _draw_box(axes, 2.6, place, text, COLOURS[0])
    return True


def _draw_box(axes: Any, across: float, down: float, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
    axes.text(across, down, text, ha="center", va="center", fontsize=9, bbox=box)


def _number(shown: float | None, unit: str = "") -> str:
    return "hidden" if shown is None else f"{shown:,.0f}{unit}"
