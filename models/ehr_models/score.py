"""Scores as FHIR: a RiskAssessment per patient with its Provenance, in one transaction.

The ids follow from the model and the stay, and every entry is a PUT: scoring again updates, it
never adds a second assessment of the same stay.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sklearn.pipeline import Pipeline

from ehr_fhir.errors import Unavailable, Unprocessable
from ehr_models.tasks.readmission.features import (
    FEATURES,
    RETURN_WITHIN,
    Views,
    features,
    latest_stays,
)
from ehr_models.tracking import MODEL

MODEL_SYSTEM = "https://ehr-commons.hk/fhir/NamingSystem/model"
ENCOUNTER_SYSTEM = "https://ehr-commons.hk/fhir/NamingSystem/encounter"
METHOD_SYSTEM = "https://ehr-commons.hk/fhir/CodeSystem/risk-method"
OUTCOME_SYSTEM = "https://ehr-commons.hk/fhir/CodeSystem/risk-outcome"
PARTICIPANT_SYSTEM = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
BATCH = 100

_NAMESPACE = uuid.UUID("5f0b4a36-0c1e-5c3a-9a55-2f6f6c8f7a10")

# A resource as JSON: its shape is FHIR's, checked against the R4B models in the tests.
Resource = dict[str, Any]

# By identifier: the program's scopes do not let it read organisations.
PLATFORM: Resource = {
    "type": "Organization",
    "identifier": {"system": "https://ehr-commons.hk/organization", "value": "ehr-commons"},
    "display": "eHR Commons",
}


class Answer(Protocol):
    """What is read of an HTTP answer."""

    @property
    def status_code(self) -> int:
        """Return the status."""

    @property
    def text(self) -> str:
        """Return the body."""


class Poster(Protocol):
    """What is needed of an HTTP client whose base address is the gateway: httpx.Client has it."""

    def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body."""


@dataclass(frozen=True)
class Score:
    """The probability that a patient returns after a stay."""

    patient: str
    encounter: str
    ended: datetime
    probability: float


@dataclass(frozen=True)
class Sent:
    """How many patients' assessments the gateway took, how many it refused, and a reason if any."""

    accepted: int
    refused: int
    reason: str | None = None


def score(model: Pipeline, views: Views) -> list[Score]:
    """Score each patient's latest acute stay, from the identified views."""
    stays = latest_stays(features(views))
    if stays.empty:
        return []
    probabilities = model.predict_proba(stays[list(FEATURES)])[:, 1]
    rows = zip(
        stays["patient_id"].astype(str),
        stays["encounter_id"].astype(str),
        [at.to_pydatetime() for at in stays["ended"]],
        probabilities.astype(float),
        strict=True,
    )
    return [Score(*row) for row in rows]


def transaction(scores: Sequence[Score], version: str, now: datetime, note: str = "") -> Resource:
    """Return the scores as one transaction Bundle; `note` says what the model is worth."""
    entries = []
    for scored in scores:
        assessment = _risk_assessment(scored, version, now, note)
        provenance = _provenance(assessment, scored, version, now)
        entries += [_entry(assessment), _entry(provenance)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def send(client: Poster, token: str, bundle: Resource) -> int:
    """Send a transaction; return the number of entries taken, or raise with the reason."""
    answer = client.post(
        "/fhir",
        content=json.dumps(bundle).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/fhir+json",
            "Prefer": "return=minimal",
        },
    )
    if answer.status_code >= 500:
        raise Unavailable(f"The gateway answered {answer.status_code} to the risk assessments.")
    if answer.status_code >= 400:
        raise Unprocessable(f"The gateway refused the risk assessments: {_reason(answer)}")
    return len(bundle["entry"])


def send_all(
    client: Poster,
    token: str,
    scores: Sequence[Score],
    version: str,
    now: datetime,
    note: str = "",
) -> Sent:
    """Send scores in batches; where a batch is refused, patient by patient.

    One patient who has left the platform since must not keep back the others' assessments.
    """
    accepted, reason = 0, None
    for batch in _batches(scores):
        try:
            send(client, token, transaction(batch, version, now, note))
            accepted += len(batch)
        except Unprocessable:
            for scored in batch:
                try:
                    send(client, token, transaction([scored], version, now, note))
                    accepted += 1
                except Unprocessable as refusal:
                    reason = str(refusal)
    return Sent(accepted, len(scores) - accepted, reason)


def _batches(scores: Sequence[Score]) -> Iterator[Sequence[Score]]:
    for start in range(0, len(scores), BATCH):
        yield scores[start : start + BATCH]


def _risk_assessment(scored: Score, version: str, now: datetime, note: str) -> Resource:
    until = scored.ended + RETURN_WITHIN.to_pytimedelta()
    return {
        "resourceType": "RiskAssessment",
        "id": _id("RiskAssessment", scored),
        "status": "final",
        "method": {
            "coding": [{"system": METHOD_SYSTEM, "version": version, "code": MODEL}],
            "text": f"{MODEL} version {version}: logistic regression",
        },
        "subject": {"reference": f"Patient/{scored.patient}"},
        "encounter": _stay(scored),
        "occurrenceDateTime": _instant(now),
        "performer": _model(version),
        "basis": [_stay(scored)],
        "prediction": [
            {
                "outcome": {
                    "coding": [{"system": OUTCOME_SYSTEM, "code": "acute-return-28d"}],
                    "text": "Return to acute care within 28 days of discharge",
                },
                "probabilityDecimal": round(scored.probability, 4),
                # whenRange would be an age of the patient (R4 §RiskAssessment); this is a time.
                "whenPeriod": {"start": _instant(scored.ended), "end": _instant(until)},
            }
        ],
        # A figure without what it is worth would be taken for more.
        **({"note": [{"text": note}]} if note else {}),
    }


def _provenance(assessment: Resource, scored: Score, version: str, now: datetime) -> Resource:
    return {
        "resourceType": "Provenance",
        "id": _id("Provenance", scored),
        # The patient too: only by its targets is a Provenance in a patient's compartment (R4), and
        # what is in nobody's compartment, nobody's consent lets anybody see.
        "target": [{"reference": _urn(assessment)}, {"reference": f"Patient/{scored.patient}"}],
        "recorded": _instant(now),
        "agent": [
            {
                "type": {"coding": [{"system": PARTICIPANT_SYSTEM, "code": "assembler"}]},
                "who": _model(version),
                "onBehalfOf": PLATFORM,
            }
        ],
        "entity": [
            {"role": "source", "what": _stay(scored)},
            {"role": "source", "what": {"reference": f"Patient/{scored.patient}"}},
        ],
    }


def _stay(scored: Score) -> Resource:
    # By identifier: to the platform's organisation, which no patient shares with, the hospital's
    # encounter is not there, and the gateway takes no reference to what is not there.
    identifier = {"system": ENCOUNTER_SYSTEM, "value": scored.encounter}
    return {"type": "Encounter", "identifier": identifier}


def _model(version: str) -> Resource:
    return {
        "type": "Device",
        "identifier": {"system": MODEL_SYSTEM, "value": f"{MODEL}/{version}"},
        "display": f"{MODEL} version {version}",
    }


def _entry(resource: Resource) -> Resource:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {
        "fullUrl": _urn(resource),
        "resource": resource,
        "request": {"method": "PUT", "url": url},
    }


def _urn(resource: Resource) -> str:
    return f"urn:uuid:{resource['id']}"


def _id(kind: str, scored: Score) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{MODEL}/{scored.patient}/{scored.encounter}"))


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _reason(answer: Answer) -> str:
    try:
        issue = json.loads(answer.text)["issue"][0]
        return f"{answer.status_code}, {issue['diagnostics']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{answer.status_code}"
