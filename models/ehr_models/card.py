"""The model card: what the model is for, what it learnt from, how good it is, where it ends.

The headings are those of CHAI's Applied Model Card, shortened.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template

from ehr_models.evaluate import Evaluation, rounded
from ehr_models.tasks.readmission.features import FEATURES

_NAMES = {"logistic": "This model", "lace": "LACE (recalibrated)", "prevalence": "Prevalence alone"}


def card(
    evaluation: Evaluation, *, trained_at: str, tables: Mapping[str, int], code: str, run: str
) -> str:
    """Write the model card of one training run, in Markdown."""
    text = files("ehr_models.tasks.readmission").joinpath("card.md").read_text("utf-8")
    rows = [
        f"| {_NAMES[name]} | {p.auroc} | {p.auprc} | {p.brier} |"
        for name, p in evaluation.performance.items()
    ]
    return Template(text).substitute(
        trained_at=trained_at,
        run=run,
        code=code[:12],
        tables=", ".join(f"{name} (version {number})" for name, number in tables.items()),
        stays=rounded(evaluation.stays),
        people=rounded(evaluation.people),
        outcomes=rounded(evaluation.outcomes),
        folds=evaluation.folds,
        features=", ".join(FEATURES),
        verdict=evaluation.verdict,
        performance="\n".join(rows),
    )
