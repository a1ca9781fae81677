"""The model card: intended use, data, figures and limits of one training run, in Markdown.

A task brings the text (headings of CHAI's Applied Model Card, shortened); the run fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from ehr_models.evaluate import MODEL, PREVALENCE, Evaluation, round_count
from ehr_models.learners.tuning import LEARNERS
from ehr_models.task import Feature


def write_card(
    evaluation: Evaluation,
    *,
    trained_at: str,
    tables: Mapping[str, int | str],
    code: str,
    run: str,
    features: Sequence[Feature],
    learner: str,
) -> str:
    """Return the model card of a training run; `tables` maps each table to its version."""
    task = evaluation.task
    titles = {MODEL: "This model", PREVALENCE: "Prevalence alone"}
    titles |= {name: f"Of them {LEARNERS[name].title}" for name in task.learners}
    titles |= {c.name: f"{c.title} (recalibrated)" for c in task.comparators}
    rows = [
        f"| {titles[name]} | {performance.auroc} | {performance.auprc} | {performance.brier} |"
        for name, performance in evaluation.performance.items()
    ]
    return Template(task.card_template).substitute(
        trained_at=trained_at,
        run=run,
        code=code[:12],
        tables=", ".join(f"{name} (version {number})" for name, number in tables.items()),
        stays=round_count(evaluation.stays),
        people=round_count(evaluation.people),
        outcomes=round_count(evaluation.outcomes),
        folds=evaluation.folds,
        learner=learner,
        features=", ".join(feature.title.lower() for feature in features),
        verdict=evaluation.verdict,
        performance="\n".join(rows),
    )
