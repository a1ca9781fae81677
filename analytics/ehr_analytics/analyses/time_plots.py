"""Plots over time: curves of survival, and a series that is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ehr_analytics.analyses.chart_style import COLOURS, DASHES, name_labels, write_number
from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["draw_curves", "draw_hours", "draw_series"]

_MAX_CURVES = 6
_MAX_TICKS = 12


def draw_curves(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw a Kaplan-Meier curve with its 95 % band for each stratum. Any: matplotlib's axes."""
    curves: dict[str, dict[int, dict[str, float]]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        if labels["day"].isdecimal() and controlled.shown is not None:
            curve = curves.setdefault(name_labels(labels, ("day", "measure")), {})
            curve.setdefault(int(labels["day"]), {})[labels["measure"]] = controlled.shown
    drawn = False
    for number, (name, points) in enumerate(list(curves.items())[:_MAX_CURVES]):
        known = {day: point for day, point in sorted(points.items()) if "survival" in point}
        if not known:
            continue
        drawn = True
        colour = COLOURS[number]
        days, shares = [0, *known], [1.0, *(point["survival"] for point in known.values())]
        style = {"color": colour, "linestyle": DASHES[number % len(DASHES)], "label": name}
        axes.step(days, shares, where="post", **style)
        bands = [(1.0, 1.0)] + [
            (
                point.get("lower limit", point["survival"]),
                point.get("upper limit", point["survival"]),
            )
            for point in known.values()
        ]
        axes.fill_between(days, *zip(*bands, strict=True), step="post", color=colour, alpha=0.12)
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_xlabel("days from the index date")
    axes.set_ylabel("share without the event, 95 % interval")
    if drawn:
        axes.legend(frameon=False)
    return drawn


def draw_series(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw people by period, and where the series is interrupted. Any: matplotlib's axes."""
    periods, interrupted, lines = [], None, []
    ratios: dict[str, dict[str, float]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        if "term" not in labels:
            periods.append((next(iter(labels.values())), controlled.shown))
        elif controlled.shown is not None:
            ratios.setdefault(labels["term"], {})[labels["measure"]] = controlled.shown
    for term, row in ratios.items():
        if term.startswith("change of level from "):
            interrupted = term.removeprefix("change of level from ")
        if {"rate ratio", "lower limit", "upper limit"} <= row.keys():
            lines.append(
                f"{term}: {write_number(row['rate ratio'])} "
                f"({write_number(row['lower limit'])} to {write_number(row['upper limit'])})"
            )
    names = [name for name, _ in periods]
    known = [(place, shown) for place, (_, shown) in enumerate(periods) if shown is not None]
    if not known:
        return False
    figure.set_size_inches(8, 4.6)
    axes.plot(*zip(*known, strict=True), marker="o", markersize=4, color=COLOURS[0], linewidth=1)
    hidden = [place for place, (_, shown) in enumerate(periods) if shown is None]
    axes.plot(hidden, [0] * len(hidden), "x", color="black", markersize=5, clip_on=False)
    if hidden:
        lines.append("× hidden")
    if interrupted in names:
        axes.axvline(names.index(interrupted) - 0.5, color=COLOURS[1], linestyle="--")
    step = max(1, -(-len(names) // _MAX_TICKS))
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=30, ha="right", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("people")
    axes.text(0.01, 0.02, "\n".join(lines), transform=axes.transAxes, fontsize=8, va="bottom")
    return True


def draw_hours(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw a bar for each hour of the day, a cross where it is hidden. Any: matplotlib's axes."""
    hours = {int(dict(c.cell.labels)["hour"]): c.shown for c in cells}
    if not any(hours.values()):
        return False
    figure.set_size_inches(8, 4)
    axes.bar(list(hours), [shown or 0 for shown in hours.values()], color=COLOURS[0])
    hidden = [hour for hour, shown in hours.items() if shown is None]
    axes.plot(hidden, [0] * len(hidden), "x", color="black", markersize=5, clip_on=False)
    axes.set_xticks(range(0, 24, 2), [f"{hour:02}:00" for hour in range(0, 24, 2)], fontsize=8)
    axes.set_xlabel("hour of arrival" + (" (× hidden)" if hidden else ""))
    axes.set_ylabel(cells[0].cell.unit)
    return True
