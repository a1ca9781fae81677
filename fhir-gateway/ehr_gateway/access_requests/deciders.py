"""Who decides about a patient's record: the patient, or their carers if under age or incapable."""

from __future__ import annotations

from datetime import UTC, date, datetime

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.access_requests.role_checks import (
    read_patient,
)
from ehr_gateway.database import Connection
from ehr_gateway.notices.outbox import (
    list_carer_readers,
    patient_reader,
)
from ehr_privacy.consent.minor_terms import anniversary

# From this age the patient decides; before, whoever represents them (Cap. 625).
_DECISION_AGE = 16

__all__ = ["is_represented", "list_deciders"]


def list_deciders(connection: Connection, patient: str, now_ms: int) -> list[str]:
    """Return the readers who decide: the patient, unless represented, and their managing carers."""
    carer_readers = list_carer_readers(connection, patient, now_ms)
    if is_represented(connection, patient, now_ms):
        return carer_readers
    return [patient_reader(patient), *carer_readers]


def is_represented(connection: Connection, patient: str, now_ms: int) -> bool:
    """Say whether somebody else decides for the patient: a minor, or recorded as incapable."""
    incapable = connection.execute(
        "SELECT 1 FROM access_request r JOIN consent_carer c ON c.consent = r.consent"
        " WHERE r.kind = 'substitute' AND r.patient = ? AND r.state = 'active'"
        " AND c.since <= ? AND (c.until IS NULL OR ? < c.until)",
        (patient, now_ms, now_ms),
    ).fetchone()
    return incapable is not None or _is_under_age(read_patient(connection, patient), now_ms)


def _is_under_age(patient: dict[str, object], now_ms: int) -> bool:
    birth = str(patient.get("birthDate", ""))
    # Of a partial birth date the last day counts: of age when everybody born then is.
    last = {4: f"{birth}-12-31", 7: f"{birth}-28"}.get(len(birth), birth)
    try:
        comes_of_age = anniversary(date.fromisoformat(last), _DECISION_AGE)
    except ValueError:
        return False
    return (
        datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(JURISDICTION.zone).date()
        < comes_of_age
    )
