"""What an evaluation is worth, in one sentence of each language."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_models.evaluate import BETTER_THAN_BASELINE, TOO_FEW_OUTCOMES, Evaluation, round_count
from ehr_models.report.messages import LANGUAGES, Words, read_words

__all__ = ["tell_verdict"]

_ENGLISH = "en"


def tell_verdict(evaluation: Evaluation) -> Mapping[str, str]:
    """Return the verdict of an evaluation by the tag of its language."""
    told = {language: _translate(evaluation, read_words(language)) for language in LANGUAGES}
    return {**told, _ENGLISH: evaluation.verdict}


def _translate(evaluation: Evaluation, words: Words) -> str:
    task, grade = evaluation.task, evaluation.grade
    rounded = round_count(evaluation.outcomes)
    key = "verdict_fewer" if rounded.startswith("fewer") else "verdict_about"
    count = words(key, count=rounded.split()[-1])
    if grade == TOO_FEW_OUTCOMES:
        return words("verdict_few", count=count, minimum=task.gates.minimum_outcomes)
    titles = [
        words.find(f"title_{comparator.title}", comparator.title) for comparator in task.comparators
    ]
    key = "verdict_better" if grade == BETTER_THAN_BASELINE else "verdict_not_better"
    against = words("listed").join(titles) or words("chance")
    return words(key, count=count, titles=against)
