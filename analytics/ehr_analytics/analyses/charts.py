"""Plots of tables of cells, drawn from what may be shown alone; what is hidden says so.

The kind of a plot follows from the cells of a table: a flow of steps, curves of survival, a series
over time, estimates with their intervals, differences before and after matching, or bars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehr_analytics.analyses import district_plots, estimate_plots, flow_plots, time_plots
from ehr_analytics.analyses.chart_style import COLOURS, Labels, name_labels
from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["draw_tables"]

# Chosen: what fits a page.
_MAX_BARS = 60
Plot = Callable[[Figure, Any, Sequence[ControlledCell]], bool]  # Any: matplotlib's axes


def draw_tables(folder: Path, cells: Sequence[ControlledCell], note: str) -> list[str]:
    """Draw a PNG for each table beside its file; return the names of the files."""
    names = []
    for table in dict.fromkeys(controlled.cell.table for controlled in cells):
        own = [controlled for controlled in cells if controlled.cell.table == table]
        figure = _draw(table, own, note)
        if figure is not None:
            name = f"{table}.png"
            metadata = {"Title": table, "Description": note}
            figure.savefig(folder / name, format="png", dpi=120, metadata=metadata)
            names.append(name)
    return names


def _draw(table: str, cells: Sequence[ControlledCell], note: str) -> Figure | None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if not _choose_plot(cells)(figure, axes, cells):
        return None
    axes.set_title(table.replace("-", " "), loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    return figure


def _choose_plot(cells: Sequence[ControlledCell]) -> Plot:
    statistics = {controlled.cell.statistic for controlled in cells}
    dimensions = {name for controlled in cells for name, _ in controlled.cell.labels}
    if "survival" in statistics:
        return time_plots.draw_curves
    if "rate-ratio" in statistics:
        return time_plots.draw_series
    if "risk-difference" in statistics:
        return estimate_plots.draw_balance
    if statistics & {"hazard-ratio", "risk-ratio", "odds-ratio", "rate"}:
        return estimate_plots.draw_estimates
    if "district" in dimensions:
        return district_plots.draw_district_plot
    if "hour" in dimensions:
        return time_plots.draw_hours
    if "step" in dimensions:
        return flow_plots.draw_attrition
    if "median" in statistics and statistics <= estimate_plots.OF_A_DISTRIBUTION:
        return estimate_plots.draw_distributions
    return _draw_bars


def _draw_bars(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    counted = [c for c in cells if c.cell.statistic in ("frequency", "sum")][:_MAX_BARS]
    # A bar of nothing would tell that somebody, or nobody, is there: a table leaves it out too.
    if not any(controlled.shown for controlled in counted):
        return False
    figure.set_size_inches(8, 1.6 + 0.28 * len(counted))
    kinds = list(dict.fromkeys(_measure_of(controlled) for controlled in counted))
    for place, controlled in enumerate(counted):
        shown = controlled.shown
        colour = COLOURS[kinds.index(_measure_of(controlled)) % len(COLOURS)]
        axes.barh(place, shown or 0, color=colour, edgecolor="black", linewidth=0.5)
        text = " hidden" if shown is None else f" {shown:,.6g}"
        axes.text(shown or 0, place, text, va="center", fontsize=8)
    names = [name_labels(dict(controlled.cell.labels)) for controlled in counted]
    axes.set_yticks(range(len(counted)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel(" or ".join(dict.fromkeys(c.cell.unit for c in counted if c.cell.unit)))
    return True


def _measure_of(controlled: ControlledCell) -> str:
    labels: Labels = dict(controlled.cell.labels)
    return labels.get("measure", "")
