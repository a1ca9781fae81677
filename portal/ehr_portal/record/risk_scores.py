"""RiskAssessments as a clinician reads them: a model's score, with where it came from.

A score is shown only within the time it speaks of, only from a model whose evaluation found it
better than what it was compared with, and only from the version of it that scores now. Everything
else would be a number to be trusted by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp, has_time_of_day
from ehr_portal.record.providers import author_organization

# The extension by which scoring says how the model did; docs/explanation/models.md.
MODEL_EVALUATION = f"{JURISDICTION.fhir_base}/StructureDefinition/model-evaluation"
BETTER_THAN_BASELINE = "better-than-baseline"
# Of the method: the model's name as code, and its version.
METHOD_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/risk-method"
_DAY = 24 * 60 * 60
_FINAL = frozenset({"final", "amended", "corrected"})


@dataclass(frozen=True)
class RiskScore:
    """One prediction of a RiskAssessment."""

    # A CodeableConcept: what is predicted.
    outcome: Resource
    # From 0 to 1.
    probability: float
    assessed_at: str
    # The end of the acute stay the score is about, and until when it speaks.
    stay_end: str
    valid_until: str
    method: str
    # Of the model, and its version.
    model: str
    version: str
    author: str | None
    # What the model is worth, in its makers' words.
    note: str


def current_risk_scores(assessments: Iterable[Resource], now: datetime) -> tuple[RiskScore, ...]:
    """Return the newest score of each outcome that speaks of now.

    Of an outcome whose newest score is over, or is of another model than a good one, none is shown:
    an older score is no better.
    """
    newest: dict[str, tuple[Resource, Resource]] = {}
    for assessment in sorted(assessments, key=_assessed_at):
        for prediction in assessment.get("prediction", ()):
            if "probabilityDecimal" in prediction and assessment.get("status") in _FINAL:
                newest[_outcome_key(prediction)] = (assessment, prediction)
    return tuple(
        _parse_risk_score(assessment, prediction)
        for assessment, prediction in newest.values()
        if is_better_than_baseline(assessment) and _speaks_of(prediction, now)
    )


def keep_scoring(scores: Iterable[RiskScore], scoring: Mapping[str, str]) -> tuple[RiskScore, ...]:
    """Return the scores of the versions that score now; `scoring` has the version of each model.

    What a version said that was rolled back, or whose files were changed, is no help any more.
    """
    return tuple(score for score in scores if scoring.get(score.model) == score.version)


def is_better_than_baseline(assessment: Resource) -> bool:
    """Return whether the model's evaluation found it better than what it was compared with."""
    return any(
        extension.get("url") == MODEL_EVALUATION
        and extension.get("valueCode") == BETTER_THAN_BASELINE
        for extension in assessment.get("extension", ())
    )


def _speaks_of(prediction: Resource, now: datetime) -> bool:
    """Return whether a prediction's period, which it has to have, is not over."""
    period = prediction.get("whenPeriod", {})
    start, end = period.get("start", ""), period.get("end", "")
    if not start or not end:
        return False
    # A day alone lasts to its end.
    last = fhir_timestamp(end) + (0 if has_time_of_day(end) else _DAY)
    return fhir_timestamp(start) <= now.timestamp() <= last


def _assessed_at(assessment: Resource) -> float:
    return fhir_timestamp(str(assessment.get("occurrenceDateTime", "")))


def _outcome_key(prediction: Resource) -> str:
    outcome = prediction.get("outcome", {})
    return _first(outcome, "code") or str(outcome.get("text", ""))


def _parse_risk_score(assessment: Resource, prediction: Mapping[str, Any]) -> RiskScore:
    method, period = assessment.get("method", {}), prediction.get("whenPeriod", {})
    return RiskScore(
        outcome=prediction.get("outcome", {}),
        probability=float(prediction["probabilityDecimal"]),
        assessed_at=str(assessment.get("occurrenceDateTime", "")),
        stay_end=str(period.get("start", "")),
        valid_until=str(period.get("end", "")),
        method=str(method.get("text") or _first(method, "display")),
        **_parse_model(method),
        author=author_organization(assessment),
        note=" ".join(str(note.get("text", "")) for note in assessment.get("note", ())),
    )


def _parse_model(method: Mapping[str, Any]) -> dict[str, str]:
    codings = (one for one in method.get("coding", ()) if one.get("system") == METHOD_SYSTEM)
    coding: Mapping[str, Any] = next(codings, {})
    return {"model": str(coding.get("code", "")), "version": str(coding.get("version", ""))}


def _first(concept: Mapping[str, Any], key: str) -> str:
    codings: Sequence[Mapping[str, Any]] = concept.get("coding", ())
    return str(next((coding[key] for coding in codings if coding.get(key)), ""))
