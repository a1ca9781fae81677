"""Step-up requests: a clinician asks a patient to open domains that are restricted.

A request is a Consent with status `proposed`, which no consent rule reads. Approval (`approvals`)
makes it `active`, for one person of one organisation, for these domains, until an instant. A
refused request becomes `rejected`, an expired one `inactive`: neither was ever a grant.
"""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import TooMany, Unprocessable
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.deciders import list_deciders
from ehr_gateway.access_requests.markers import is_shared_with
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    insert_request,
    select_overdue,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    Clinician,
    require_visible_patient,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices.outbox import (
    Notice,
    queue_notice,
)
from ehr_privacy.consent import load_roles

__all__ = ["build_notice", "request_step_up"]

_HOUR_MS = 3_600_000


def request_step_up(
    context: RequestContext,
    clinician: Clinician,
    patient: str,
    *,
    reason: str,
    domains: tuple[str, ...],
    hours: int,
) -> AccessRequest:
    """Create a step-up request, and notify the patient, or whoever decides for them, with a code.

    Raises NotFound for a patient whom the clinician may not see, Unprocessable if approval would
    open nothing whatever the record holds, TooMany beyond the rate limits.
    """
    limits, now = context.gateway.settings.limits, context.access.now_ms
    matrix = load_roles()
    if any(matrix.cell("clinician", clinician.profession, domain) == "none" for domain in domains):
        raise Unprocessable(
            "No consent opens one of these domains to this profession.",
            expression="Parameters.parameter",
        )
    request = AccessRequest(
        id=new_id(),
        kind="step-up",
        patient=patient,
        person=clinician.id,
        display=clinician.display,
        organization=clinician.organization,
        profession=clinician.profession,
        reason=reason,
        asked_ms=now,
        expires_ms=now + limits.code_minutes * 60_000,
        domains=domains,
        hours=hours,
    )
    with step_transaction(context, "$request-access") as step:
        connection = step.connection
        require_visible_patient(connection, context.access, patient)
        if not is_shared_with(connection, context.access.requester, patient, now):
            raise Unprocessable("There is no sharing consent for your organisation.")
        _check_rate_limits(connection, context, clinician, patient)
        _expire_earlier_requests(step, request)
        consent = consents.build_step_up_consent(
            request.id, patient, now, person=clinician.actor, organization=clinician.organization,
            domains=domains, reason=reason,
        )  # fmt: skip
        request = replace(request, consent=step.create_consent(consent))
        insert_request(connection, request)
        for reader in list_deciders(connection, patient, now):
            queue_notice(
                connection, build_notice(request, "access-code", reader, request.expires_ms, now)
            )
        step.patients.append(patient)
    return request


def _check_rate_limits(
    connection: Connection, context: RequestContext, clinician: Clinician, patient: str
) -> None:
    limits, since = context.gateway.settings.limits, context.access.now_ms - _HOUR_MS
    own_count = connection.execute(
        "SELECT COUNT(*) FROM access_request WHERE kind = 'step-up' AND person = ?"
        " AND organization = ? AND asked_ms > ?",
        (clinician.id, clinician.organization, since),
    ).fetchone()[0]
    if own_count >= limits.requests_an_hour:
        raise TooMany("You made too many requests in an hour. Wait, then go on.")
    patient_count = connection.execute(
        "SELECT COUNT(*) FROM access_request WHERE kind = 'step-up' AND patient = ?"
        " AND asked_ms > ?",
        (patient, since),
    ).fetchone()[0]
    if patient_count >= limits.codes_an_hour:
        raise TooMany("This patient was sent too many codes in an hour. Wait, then go on.")


def _expire_earlier_requests(step: StepTransaction, request: AccessRequest) -> None:
    """Expire the clinician's open request for this patient, and other requests past their time."""
    connection, now = step.connection, request.asked_ms
    same = "kind = 'step-up' AND patient = :patient"
    own = f"state = 'proposed' AND {same} AND person = :person AND organization = :organization"
    waiting = select_requests(
        connection,
        own,
        patient=request.patient,
        person=request.person,
        organization=request.organization,
    )
    expired = select_overdue(connection, same, now, patient=request.patient)
    for earlier in {earlier.id: earlier for earlier in (*waiting, *expired)}.values():
        connection.execute(
            "UPDATE access_request SET state = 'expired', decided_ms = ? WHERE id = ?",
            (now, earlier.id),
        )
        step.update_consent(str(earlier.consent), status="inactive")


def build_notice(
    request: AccessRequest, kind: str, reader: str, until_ms: int, now_ms: int
) -> Notice:
    """Build the notice of a request, to one reader."""
    return Notice(
        f"{kind}:{request.id}", kind, request.patient, reader, request.display,
        request.organization, now_ms, request=request.id, until_ms=until_ms,
    )  # fmt: skip
