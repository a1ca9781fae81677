"""Two plots of the out-of-fold predictions: ROC and calibration."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from ehr_models.tasks.readmission.features import OUTCOME

# Okabe and Ito's colours, and a line style each.
_STYLES = {"logistic": ("#0072B2", "-"), "lace": ("#D55E00", "--")}


def roc(predictions: pd.DataFrame, note: str) -> Figure:
    """Draw sensitivity against false alarms for the model and LACE."""
    figure, axes = _axes("Discrimination, out of fold", note)
    for name, (colour, line) in _STYLES.items():
        false_alarms, found, _ = roc_curve(predictions[OUTCOME], predictions[name])
        axes.plot(false_alarms, found, line, color=colour, label=name)
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    axes.set_xlabel("false alarms among those who did not return")
    axes.set_ylabel("found among those who returned")
    axes.legend(frameon=False)
    return figure


def calibration(predictions: pd.DataFrame, note: str) -> Figure:
    """Draw how often people returned against how often they were said to."""
    figure, axes = _axes("Calibration, out of fold", note)
    for name, (colour, line) in _STYLES.items():
        happened, said = calibration_curve(
            predictions[OUTCOME], predictions[name], n_bins=5, strategy="quantile"
        )
        axes.plot(said, happened, line, color=colour, marker="o", label=name)
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], ":", color="grey", label="perfect")
    axes.set_xlabel("predicted probability of return")
    axes.set_ylabel("share that returned")
    axes.legend(frameon=False)
    return figure


def _axes(title: str, note: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(note, fontsize=8)
    return figure, axes
