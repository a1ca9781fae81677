"""Emergency access ("break glass"): declared by a clinician with a reason, notified, reviewed.

It opens the record to this person of this organisation for a day at most. What the patient sealed
stays closed, and colleagues see no more than before.
"""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import NotFound, TooMany
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.request_rows import AccessRequest, insert_request
from ehr_gateway.access_requests.role_checks import Clinician
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices.outbox import Notice, list_readers, queue_notice
from ehr_gateway.search.named_patients import find_person_by_number

__all__ = ["declare_emergency", "find_patient_by_identity_number"]

_HOUR_MS = 3_600_000
NO_SUCH_PERSON = "There is no record of this person. Check the identity card number."


def find_patient_by_identity_number(
    context: RequestContext, clinician: Clinician, typed: str
) -> str:
    """Return the id of the patient with an identity number. Every attempt counts to the limit."""
    _record_attempt(context, clinician)
    with context.gateway.store.read_transaction() as connection:
        patients = find_person_by_number(connection, typed)
    if len(patients) != 1:
        raise NotFound(NO_SUCH_PERSON)
    context.access.inquiry.name_target("Patient", patients[0])
    return patients[0]


def declare_emergency(
    context: RequestContext, clinician: Clinician, patient: str, reason: str
) -> AccessRequest:
    """Open a record in an emergency, notify the patient, and queue it for the steward's review.

    Raises NotFound if there is no such patient, TooMany beyond the daily limit.
    """
    limits, now = context.gateway.settings.limits, context.access.now_ms
    until = now + limits.emergency_hours * _HOUR_MS
    request = AccessRequest(
        id=new_id(),
        kind="emergency",
        state="active",
        patient=patient,
        person=clinician.id,
        display=clinician.display,
        organization=clinician.organization,
        profession=clinician.profession,
        reason=reason,
        asked_ms=now,
        expires_ms=until,
        until_ms=until,
        decided_ms=now,
        decided_by=clinician.id,
        hours=limits.emergency_hours,
    )
    with step_transaction(context, "$declare-emergency") as step:
        connection = step.connection
        _check_daily_limit(connection, context, clinician)
        if not _patient_exists(connection, patient):
            raise NotFound(NO_SUCH_PERSON)
        consent = consents.build_emergency_consent(
            request.id, patient, now, until, person=clinician.actor,
            organization=clinician.organization, reason=reason,
        )  # fmt: skip
        request = replace(request, consent=step.create_consent(consent))
        insert_request(connection, request)
        for reader in list_readers(connection, patient, now):
            queue_notice(
                connection,
                Notice(
                    f"emergency:{request.id}", "emergency", patient, reader, clinician.display,
                    clinician.organization, now, until_ms=until,
                ),
            )  # fmt: skip
        step.patients.append(patient)
    return request


def _record_attempt(context: RequestContext, clinician: Clinician) -> None:
    now = context.access.now_ms
    with context.gateway.store.write_transaction() as connection:
        is_within_limit = (
            _count_attempts(connection, clinician, now)
            < 3 * context.gateway.settings.limits.emergencies_a_day
        )
        if is_within_limit:
            connection.execute(
                "INSERT INTO access_attempt (id, person, organization, at_ms) VALUES (?, ?, ?, ?)",
                (new_id(), clinician.id, clinician.organization, now),
            )
    if not is_within_limit:
        raise TooMany(_TOO_MANY)


def _check_daily_limit(
    connection: Connection, context: RequestContext, clinician: Clinician
) -> None:
    count = connection.execute(
        "SELECT COUNT(*) FROM access_request WHERE kind = 'emergency' AND person = ?"
        " AND organization = ? AND asked_ms > ?",
        (clinician.id, clinician.organization, context.access.now_ms - 24 * _HOUR_MS),
    ).fetchone()[0]
    if count >= context.gateway.settings.limits.emergencies_a_day:
        raise TooMany(_TOO_MANY)


def _count_attempts(connection: Connection, clinician: Clinician, now_ms: int) -> int:
    row = connection.execute(
        "SELECT COUNT(*) FROM access_attempt WHERE person = ? AND organization = ? AND at_ms > ?",
        (clinician.id, clinician.organization, now_ms - 24 * _HOUR_MS),
    ).fetchone()
    return int(row[0])


def _patient_exists(connection: Connection, patient: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM resource WHERE type = 'Patient' AND id = ? AND current = 1 AND deleted = 0",
        (patient,),
    ).fetchone()
    return row is not None


_TOO_MANY = "You declared too many emergencies in a day. Ask your organisation's steward."
