"""RiskAssessments as a clinician reads them: a model's score, with where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.record.providers import author_organization


@dataclass(frozen=True)
class RiskScore:
    """One prediction of a RiskAssessment."""

    # A CodeableConcept: what is predicted.
    outcome: Resource
    # From 0 to 1.
    probability: float
    assessed_at: str
    # The end of the acute stay the score is about.
    stay_end: str
    method: str
    author: str | None
    # What the model is worth, in its makers' words.
    note: str


def newest_risk_scores(assessments: Iterable[Resource]) -> tuple[RiskScore, ...]:
    """Return the newest score of each outcome; a prediction without a number is left out."""
    scores = [
        _parse_risk_score(assessment, prediction)
        for assessment in assessments
        for prediction in assessment.get("prediction", ())
        if "probabilityDecimal" in prediction
    ]
    newest: dict[str, RiskScore] = {}
    for score in sorted(scores, key=lambda score: (score.assessed_at, score.stay_end)):
        newest[str(score.outcome)] = score
    return tuple(newest.values())


def _parse_risk_score(assessment: Resource, prediction: Mapping[str, Any]) -> RiskScore:
    method = assessment.get("method", {})
    return RiskScore(
        outcome=prediction.get("outcome", {}),
        probability=float(prediction["probabilityDecimal"]),
        assessed_at=str(assessment.get("occurrenceDateTime", "")),
        stay_end=str(prediction.get("whenPeriod", {}).get("start", "")),
        method=str(method.get("text") or _first_display(method)),
        author=author_organization(assessment),
        note=" ".join(str(note.get("text", "")) for note in assessment.get("note", ())),
    )


def _first_display(concept: Mapping[str, Any]) -> str:
    codings: Sequence[Mapping[str, Any]] = concept.get("coding", ())
    return str(next((coding["display"] for coding in codings if coding.get("display")), ""))
