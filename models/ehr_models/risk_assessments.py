"""Predictions as FHIR: a RiskAssessment per patient with its Provenance, in one transaction.

Ids are derived from the model, the patient and the encounter, and every entry is a PUT: scoring
again updates, it never adds a second assessment of the same stay.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.score import Prediction
from ehr_models.task import Task

MODEL_SYSTEM = f"{JURISDICTION.fhir_base}/NamingSystem/model"
ENCOUNTER_SYSTEM = f"{JURISDICTION.fhir_base}/NamingSystem/encounter"
METHOD_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/risk-method"
# How the model did when it was evaluated, as a code of ehr_models.evaluate.
MODEL_EVALUATION = f"{JURISDICTION.fhir_base}/StructureDefinition/model-evaluation"
OUTCOME_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/risk-outcome"
PARTICIPANT_SYSTEM = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"

# Namespace of the derived ids (UUID version 5). A change of it would double every assessment.
_NAMESPACE = uuid.UUID("5f0b4a36-0c1e-5c3a-9a55-2f6f6c8f7a10")

# A resource as JSON: its shape is FHIR's, checked against the R4B models in the tests.
Resource = dict[str, Any]

# By identifier: the program's scopes do not let it read organisations.
PLATFORM: Resource = {
    "type": "Organization",
    "identifier": {"system": f"{JURISDICTION.base}/organization", "value": "ehr-commons"},
    "display": "eHR Commons",
}


@dataclass(frozen=True)
class ScoringRun:
    """One run of a registered model.

    `note` is its verdict, written beside each figure; `grade` the same as a code. `as_of`: the past
    day as of which it scored, None where it was the day itself.
    """

    task: Task
    version: str
    scored_at: datetime
    note: str = ""
    grade: str = ""
    as_of: date | None = None


def build_transaction(run: ScoringRun, predictions: Sequence[Prediction]) -> Resource:
    """Return predictions as one transaction Bundle."""
    entries = []
    for prediction in predictions:
        assessment = _build_risk_assessment(run, prediction)
        provenance = _build_provenance(run, prediction, assessment)
        entries += [_build_entry(assessment), _build_entry(provenance)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def build_amendment(run: ScoringRun, assessment: Resource, note: str) -> Resource:
    """Return a transaction that ends an assessment at the time of a run, with a note why."""
    (prediction,) = assessment["prediction"]
    period = {**prediction["whenPeriod"], "end": _format_instant(run.scored_at)}
    amended = {
        **{key: value for key, value in assessment.items() if key != "meta"},
        "status": "amended",
        "prediction": [{**prediction, "whenPeriod": period}],
        "note": [*assessment.get("note", ()), {"text": note}],
    }
    entry = _build_entry(amended)
    entry["request"]["ifMatch"] = f'W/"{assessment["meta"]["versionId"]}"'
    key = f"{assessment['id']}/{run.scored_at.isoformat()}"
    provenance = {
        "resourceType": "Provenance",
        "id": str(uuid.uuid5(_NAMESPACE, key)),
        "target": [{"reference": _urn(amended)}, assessment["subject"]],
        "recorded": _format_instant(run.scored_at),
        "agent": [_build_agent(run)],
    }
    entries = [entry, _build_entry(provenance)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def derive_assessment_id(task: Task, prediction: Prediction) -> str:
    """Return the id of a prediction's assessment: that of the patient and the stay."""
    return _derive_id("RiskAssessment", task, prediction)


def _build_risk_assessment(run: ScoringRun, prediction: Prediction) -> Resource:
    task = run.task
    until = prediction.predicted_at + task.outcome.horizon
    return {
        "resourceType": "RiskAssessment",
        "id": derive_assessment_id(task, prediction),
        # Without its grade a program that shows the figure could not tell whether to show it.
        **_build_evaluation(run),
        "status": "final",
        "method": {
            "coding": [{"system": METHOD_SYSTEM, "version": run.version, "code": task.name}],
            "text": f"{task.title}, model version {run.version}",
        },
        "subject": {"reference": f"Patient/{prediction.patient}"},
        "encounter": _refer_to_encounter(prediction),
        "occurrenceDateTime": _format_instant(run.scored_at),
        "performer": _refer_to_model(run),
        "basis": [_refer_to_encounter(prediction)],
        "prediction": [
            {
                "outcome": {
                    "coding": [{"system": OUTCOME_SYSTEM, "code": task.outcome.code}],
                    "text": task.outcome.text,
                },
                "probabilityDecimal": round(prediction.probability, 4),
                # whenRange would be an age of the patient (R4 §RiskAssessment); this is a time.
                "whenPeriod": {
                    "start": _format_instant(prediction.predicted_at),
                    "end": _format_instant(until),
                },
            }
        ],
        # A figure without its verdict would be trusted more than it deserves.
        **_build_notes(run, prediction),
    }


def _build_evaluation(run: ScoringRun) -> Resource:
    extension = {"url": MODEL_EVALUATION, "valueCode": run.grade}
    return {"extension": [extension]} if run.grade else {}


def _build_notes(run: ScoringRun, prediction: Prediction) -> Resource:
    texts = [run.note]
    if prediction.incomplete:
        texts.append(f"Made from incomplete data. {prediction.incomplete}")
    if run.as_of is not None:
        texts.append(f"Scored as of {run.as_of}, a day of the past: it says nothing of today.")
    notes = [{"text": text} for text in texts if text]
    return {"note": notes} if notes else {}


def _build_provenance(run: ScoringRun, prediction: Prediction, assessment: Resource) -> Resource:
    patient = {"reference": f"Patient/{prediction.patient}"}
    return {
        "resourceType": "Provenance",
        "id": _derive_id("Provenance", run.task, prediction),
        # The patient too: only by its targets is a Provenance in a patient's compartment (R4), and
        # a resource in no compartment is visible to nobody by consent.
        "target": [{"reference": _urn(assessment)}, patient],
        "recorded": _format_instant(run.scored_at),
        "agent": [_build_agent(run)],
        "entity": [
            {"role": "source", "what": _refer_to_encounter(prediction)},
            {"role": "source", "what": dict(patient)},
        ],
    }


def _build_agent(run: ScoringRun) -> Resource:
    return {
        "type": {"coding": [{"system": PARTICIPANT_SYSTEM, "code": "assembler"}]},
        "who": _refer_to_model(run),
        "onBehalfOf": PLATFORM,
    }


def _refer_to_encounter(prediction: Prediction) -> Resource:
    # By identifier: the platform's own organisation is in no patient's sharing consent, so it
    # cannot see the hospital's encounter, and the gateway refuses references to what the writer
    # cannot see.
    identifier = {"system": ENCOUNTER_SYSTEM, "value": prediction.encounter}
    return {"type": "Encounter", "identifier": identifier}


def _refer_to_model(run: ScoringRun) -> Resource:
    return {
        "type": "Device",
        "identifier": {"system": MODEL_SYSTEM, "value": f"{run.task.name}/{run.version}"},
        "display": f"{run.task.name} version {run.version}",
    }


def _build_entry(resource: Resource) -> Resource:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {
        "fullUrl": _urn(resource),
        "resource": resource,
        "request": {"method": "PUT", "url": url},
    }


def _urn(resource: Resource) -> str:
    return f"urn:uuid:{resource['id']}"


def _derive_id(resource_type: str, task: Task, prediction: Prediction) -> str:
    key = f"{resource_type}/{task.name}/{prediction.patient}/{prediction.encounter}"
    return str(uuid.uuid5(_NAMESPACE, key))


def _format_instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
