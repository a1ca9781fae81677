"""Plot of a forecast: recent counts, the median and both intervals, one panel per hospital."""

from __future__ import annotations

from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehr_models.forecasting.forecaster import HORIZON, MEDIAN
from ehr_models.forecasting.metrics import INTERVALS
from ehr_models.forecasting.train import Trained

__all__ = ["draw_forecast"]

_RECENT_DAYS = 56
_COLUMNS = 3
# Okabe and Ito's blue; the intervals are told apart by depth, the median by its line.
_COLOUR = "#0072B2"
_DEPTHS = {0.95: 0.2, 0.80: 0.4}


def draw_forecast(trained: Trained, title: str, unit: str) -> bytes:
    """Return an SVG picture; the same forecast gives the same bytes."""
    hospitals = trained.panel.hospitals
    columns = min(_COLUMNS, len(hospitals))
    lines = -(-len(hospitals) // columns)
    figure = Figure(figsize=(4 * columns + 0.5, 2.3 * lines + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    recent = trained.panel.values[-_RECENT_DAYS:]
    past = np.arange(1 - len(recent), 1)
    ahead = np.arange(1, HORIZON + 1)
    for own, hospital in enumerate(hospitals):
        quantiles = trained.quantiles[own]
        axes[own].plot(past, recent[:, own], color="black", linewidth=1, label="count")
        for nominal in sorted(INTERVALS, reverse=True):
            low, high = INTERVALS[nominal]
            axes[own].fill_between(
                ahead, quantiles[:, low], quantiles[:, high], color=_COLOUR, linewidth=0,
                alpha=_DEPTHS[nominal], label=f"{nominal:.0%} interval",
            )  # fmt: skip
        axes[own].plot(ahead, quantiles[:, MEDIAN], color=_COLOUR, linewidth=1.5, label="median")
        # An id is no formula, whatever its characters.
        axes[own].set_title(hospital, loc="left", fontsize=9, parse_math=False)
        axes[own].spines[["top", "right"]].set_visible(False)
    for empty in axes[len(hospitals) :]:
        empty.set_axis_off()
    last = trained.panel.last_day
    figure.suptitle(f"{title}: {trained.served}", x=0.01, ha="left", fontsize=11)
    figure.supxlabel(f"days after {last:%Y-%m-%d}", fontsize=9)
    figure.supylabel(unit, fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=4, frameon=False, fontsize=8)
    description = f"{title} of {len(hospitals)} hospitals, {HORIZON} days after {last:%Y-%m-%d}."
    output = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ehr", "svg.fonttype": "none"}):
        metadata = {"Title": title, "Description": description, "Date": None}
        figure.savefig(output, format="svg", metadata=metadata)
    return output.getvalue()
