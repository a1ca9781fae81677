"""Plots of tables of cells, drawn from what may be shown alone; what is hidden says so.

The kind of a plot follows from the statistics in the table: a curve of survival, ratios with their
intervals, or bars of counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["draw_tables"]

# Okabe and Ito's colours: told apart without colour vision; dashes tell them apart on paper.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":")
# Chosen: what fits a page.
_MAX_BARS, _MAX_CURVES = 60, 6
_RATIOS = ("hazard-ratio", "rate-ratio")
Labels = Mapping[str, str]


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
    statistics = {controlled.cell.statistic for controlled in cells}
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if "survival" in statistics:
        drawn = _draw_curves(axes, cells)
    elif statistics & set(_RATIOS):
        drawn = _draw_ratios(axes, cells)
    else:
        drawn = _draw_bars(figure, axes, cells)
    if not drawn:
        return None
    axes.set_title(table.replace("-", " "), loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    return figure


def _draw_curves(axes: Any, cells: Sequence[ControlledCell]) -> bool:  # Any: matplotlib's axes
    curves: dict[str, list[tuple[int, float]]] = {}
    for controlled in cells:
        if controlled.cell.statistic == "survival" and controlled.shown is not None:
            labels = dict(controlled.cell.labels)
            curve = curves.setdefault(_name(labels, ("day", "measure")), [(0, 1.0)])
            curve.append((int(labels["day"]), controlled.shown))
    for number, (name, points) in enumerate(list(curves.items())[:_MAX_CURVES]):
        style = {"color": _COLOURS[number], "linestyle": _DASHES[number % len(_DASHES)]}
        axes.step(*zip(*points, strict=True), where="post", label=name, **style)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("days from the index date")
    axes.set_ylabel("share without the event")
    if curves:
        axes.legend(frameon=False)
    return bool(curves)


def _draw_ratios(axes: Any, cells: Sequence[ControlledCell]) -> bool:  # Any: matplotlib's axes
    rows: dict[str, dict[str, float]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        if "term" in labels and controlled.shown is not None:
            rows.setdefault(labels["term"], {})[labels["measure"]] = controlled.shown
    names = [name for name, row in rows.items() if {"lower limit", "upper limit"} <= row.keys()]
    for place, name in enumerate(names):
        row = rows[name]
        axes.plot([row["lower limit"], row["upper limit"]], [place, place], color=_COLOURS[0])
        for measure in ("hazard ratio", "rate ratio"):
            if measure in row:
                axes.plot([row[measure]], [place], marker="s", color=_COLOURS[0])
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("ratio with its 95 % interval")
    return bool(names)


def _draw_bars(
    figure: Figure, axes: Any, cells: Sequence[ControlledCell]
) -> bool:  # Any: matplotlib's axes
    counted = [c for c in cells if c.cell.statistic in ("frequency", "sum")][:_MAX_BARS]
    # A bar of nothing would tell that somebody, or nobody, is there: a table leaves it out too.
    if not any(controlled.shown for controlled in counted):
        return False
    figure.set_size_inches(8, 1.6 + 0.28 * len(counted))
    for place, controlled in enumerate(counted):
        shown = controlled.shown
        axes.barh(place, shown or 0, color=_COLOURS[0], edgecolor="black", linewidth=0.5)
        text = " hidden" if shown is None else f" {shown:,.6g}"
        axes.text(shown or 0, place, text, va="center", fontsize=8)
    names = [_name(dict(controlled.cell.labels), ()) for controlled in counted]
    axes.set_yticks(range(len(counted)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel(" or ".join(dict.fromkeys(c.cell.unit for c in counted if c.cell.unit)))
    return True


def _name(labels: Labels, without: tuple[str, ...]) -> str:
    parts = [
        value if name in ("step", "measure", "row") else f"{name.replace('_', ' ')} {value}"
        for name, value in labels.items()
        if name not in without
    ]
    return ", ".join(parts) or "all"
