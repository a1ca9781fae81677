"""Plots of estimates: ratios and rates with intervals, balance of a match, distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ehr_analytics.analyses.chart_style import COLOURS, group_by_measure, name_labels, write_number
from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["OF_A_DISTRIBUTION", "draw_balance", "draw_distributions", "draw_estimates"]

OF_A_DISTRIBUTION = frozenset({"frequency", "mean", "standard-deviation", "median", "quantile"})
_MAX_ROWS = 60
# A measure, and what its limits are called.
_ESTIMATES = {
    "hazard ratio": ("lower limit", "upper limit"),
    "risk ratio": ("risk ratio, lower limit", "risk ratio, upper limit"),
    "odds ratio": ("odds ratio, lower limit", "odds ratio, upper limit"),
    "rate": ("rate, lower limit", "rate, upper limit"),
}


def draw_estimates(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw each ratio or rate as a square with its 95 % interval. Any: matplotlib's axes."""
    rows: list[tuple[str, list[float] | None]] = []
    for name, row in group_by_measure(cells).items():
        for measure, limits in _ESTIMATES.items():
            if measure in row:
                text = name if measure in ("hazard ratio", "rate") else f"{name}, {measure}"
                shown = [row.get(each) for each in (measure, *limits)]
                figures = [number for number in shown if number is not None]
                rows.append((text, figures if len(figures) == len(shown) else None))
    rows = rows[:_MAX_ROWS]
    known = [figures for _, figures in rows if figures is not None]
    if not known:
        return False
    figure.set_size_inches(8, 1.8 + 0.32 * len(rows))
    is_rate = any(controlled.cell.statistic == "rate" for controlled in cells)
    for place, (_, estimate) in enumerate(rows):
        if estimate is None:
            axes.text(min(low for _, low, _ in known), place, "hidden", va="center", fontsize=8)
            continue
        value, low, high = estimate
        axes.plot([low, high], [place, place], color=COLOURS[0])
        axes.plot([value], [place], marker="s", color=COLOURS[0])
        text = f"  {write_number(value)} ({write_number(low)} to {write_number(high)})"
        axes.text(high, place, text, va="center", fontsize=8)
    if is_rate:
        # Limits that are set take no margin: the figures beside the marks need room.
        axes.set_xlim(0, 1.6 * max(high for _, _, high in known))
        unit = next(c.cell.unit for c in cells if c.cell.statistic == "rate")
        axes.set_xlabel(f"{unit}, with the 95 % interval")
    else:
        axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("ratio with its 95 % interval, on a logarithmic scale")
    axes.margins(x=0.35)
    _name_rows(axes, [name for name, _ in rows])
    return True


def draw_balance(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw standardised differences before and after matching. Any: matplotlib's axes."""
    rows: dict[str, dict[str, float]] = {}
    effects = []
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        if controlled.shown is None:
            continue
        if labels["measure"] == "standardised difference":
            rows.setdefault(labels["row"].replace("_", " "), {})[labels["phase"]] = controlled.shown
        elif labels["measure"] == "risk difference":
            effects.append(f"risk difference {labels['phase']}: {write_number(controlled.shown)}")
    if not rows:
        return False
    figure.set_size_inches(8, 2.2 + 0.3 * len(rows))
    for phase, marker, colour in (("before", "o", COLOURS[1]), ("after", "s", COLOURS[0])):
        known = [(row[phase], place) for place, row in enumerate(rows.values()) if phase in row]
        if known:
            axes.plot(*zip(*known, strict=True), marker, color=colour, label=f"{phase} matching")
    furthest = max(abs(value) for row in rows.values() for value in row.values())
    axes.set_xlim(-1.1 * max(furthest, 0.15), 1.1 * max(furthest, 0.15))
    axes.axvspan(-0.1, 0.1, color="black", alpha=0.07, linewidth=0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("standardised difference; grey: less than 0.1\n" + "; ".join(effects))
    axes.legend(frameon=False)
    _name_rows(axes, list(rows))
    return True


def draw_distributions(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw median and quartiles as a line with a bar, the mean as a square. Any: matplotlib's."""
    rows: dict[str, dict[str, float | None]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        name = name_labels(labels, ("measure", "row"))
        rows.setdefault(name, {})[labels.get("measure", "")] = controlled.shown
    if not any(row.get("median") or row.get("mean") for row in rows.values()):
        return False
    figure.set_size_inches(8, 1.8 + 0.4 * len(rows))
    for place, row in enumerate(rows.values()):
        low, middle, high = (row.get(f) for f in ("lower quartile", "median", "upper quartile"))
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=6, alpha=0.4)
        if middle is not None:
            axes.plot([middle], [place], marker="|", markersize=16, color="black")
        if row.get("mean") is not None:
            axes.plot([row["mean"]], [place], marker="s", color=COLOURS[1])
        if middle is None and row.get("mean") is None:
            axes.text(0, place, " hidden", va="center", fontsize=8)
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    unit = next((c.cell.unit for c in cells if c.cell.statistic == "median"), "")
    axes.set_xlabel(f"{unit}: quartiles (bar), median (line), mean (square)")
    _name_rows(axes, list(rows))
    return True


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
