"""ROC and calibration curves of the out-of-fold predictions."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from ehr_models.evaluate import MODEL, Evaluation, round_count

# Okabe and Ito's colours, and a line style each: told apart without colour vision.
_STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_CALIBRATION_BINS = 5


def draw_roc(evaluation: Evaluation) -> Figure:
    """Draw sensitivity against the false positive rate for the model and its comparators."""
    figure, axes = _create_axes("Discrimination, out of fold", evaluation)
    target = evaluation.predictions[evaluation.task.target]
    for name, (colour, line) in _style_predictors(evaluation).items():
        false_positive_rate, sensitivity, _ = roc_curve(target, evaluation.predictions[name])
        axes.plot(false_positive_rate, sensitivity, line, color=colour, label=name)
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("sensitivity")
    axes.legend(frameon=False)
    return figure


def draw_calibration(evaluation: Evaluation) -> Figure:
    """Draw the observed share against the predicted probability, in quantiles."""
    figure, axes = _create_axes("Calibration, out of fold", evaluation)
    target = evaluation.predictions[evaluation.task.target]
    for name, (colour, line) in _style_predictors(evaluation).items():
        observed, predicted = calibration_curve(
            target, evaluation.predictions[name], n_bins=_CALIBRATION_BINS, strategy="quantile"
        )
        axes.plot(predicted, observed, line, color=colour, marker="o", label=name)
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], ":", color="grey", label="perfect")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    axes.legend(frameon=False)
    return figure


def _style_predictors(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    task = evaluation.task
    names = (MODEL, *(comparator.name for comparator in task.comparators))
    return {name: _STYLES[number % len(_STYLES)] for number, name in enumerate(names)}


def _create_axes(title: str, evaluation: Evaluation) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    outcomes, stays = round_count(evaluation.outcomes), round_count(evaluation.stays)
    note = f"{outcomes} {evaluation.task.outcome.plural} in {stays} stays"
    figure.supxlabel(note, fontsize=8)
    return figure, axes
