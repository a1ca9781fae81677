"""Step-up: a clinician asks, the patient approves by code, by smart ID or on the own page.

A request is a Consent in state `proposed`, of which no rule knows; approval makes it `active` for
this person of this organisation, these domains, until then. A refused or expired one becomes
`rejected` or `inactive` and never was a grant.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from ehr_fhir.errors import Conflict, Forbidden, NotFound, TooMany, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.markers import is_shared_with
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    find_request,
    insert_request,
    select_overdue,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    Clinician,
    can_manage,
    read_patient,
    require_visible_patient,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.accounts import accounts
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices import one_time_codes
from ehr_gateway.notices.outbox import (
    Notice,
    list_carer_readers,
    list_readers,
    patient_reader,
    queue_notice,
)
from ehr_privacy.consent import load_roles
from ehr_privacy.consent.instants import anniversary

__all__ = ["answer_step_up", "approve_by_code", "approve_by_eid", "request_step_up"]

_HOUR_MS = 3_600_000
# From this age the patient decides; before it, who decides for him (Cap. 625).
_DECISION_AGE = 16
NOT_APPROVED = "This does not approve the request. Ask the patient, or ask for a new code."
REQUEST_CLOSED = "The request is answered, or waited too long. Make a new one."
NO_REQUEST = "There is no such request."


def request_step_up(
    context: RequestContext,
    clinician: Clinician,
    patient: str,
    *,
    reason: str,
    domains: tuple[str, ...],
    hours: int,
) -> AccessRequest:
    """Make a request and send the patient, or who decides for him, a code.

    Raises NotFound for a patient the clinician cannot name, Unprocessable where a grant would
    open nothing whatever the record holds, TooMany past the limits.
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
        for reader in _list_deciders(connection, patient, now):
            queue_notice(
                connection, _build_notice(request, "access-code", reader, request.expires_ms, now)
            )
        step.patients.append(patient)
    return request


def approve_by_code(
    context: RequestContext, clinician: Clinician, identity: str, code: str
) -> AccessRequest:
    """Approve by the code that the patient told the clinician who asked.

    Each try is on the books before it is judged: a hundred at once are still a hundred.
    """
    request = _find_own_request(context, clinician, identity)
    if not _record_attempt(context, request) or not one_time_codes.verify_code(
        context.gateway.form_secret, request.id, code
    ):
        raise Forbidden(NOT_APPROVED)
    return _activate_grant(context, request, "$redeem-access", by="code")


def approve_by_eid(
    context: RequestContext, clinician: Clinician, identity: str, hkid: str, pin: str
) -> AccessRequest:
    """Approve by the patient's own smart ID at the clinician's desk; a carer's does not do."""
    request = _find_own_request(context, clinician, identity)
    if not _record_attempt(context, request):
        raise Forbidden(NOT_APPROVED)
    with context.gateway.store.read_transaction() as connection:
        is_represented = _is_represented(connection, request.patient, context.access.now_ms)
    try:
        account = accounts.verify_eid(context.gateway.store, hkid, pin, context.access.now_ms)
    except accounts.LoginRefused as error:
        raise Forbidden(NOT_APPROVED) from error
    if is_represented or account.role != "patient" or account.patient != request.patient:
        raise Forbidden(NOT_APPROVED)
    return _activate_grant(context, request, "$redeem-access", by="eid")


def answer_step_up(context: RequestContext, identity: str, *, approves: bool) -> AccessRequest:
    """Let the patient approve or refuse on the own page; a carer may refuse, and has the code."""
    now, requester = context.access.now_ms, context.access.requester
    with context.gateway.store.read_transaction() as connection:
        request = find_request(connection, identity, "step-up")
        if request is None:
            raise NotFound(NO_REQUEST)
        is_patient = requester.role == "patient" and requester.patient == request.patient
        if not is_patient and not can_manage(connection, context.access, request.patient):
            raise NotFound(NO_REQUEST)
        if approves and not is_patient:
            raise Forbidden("A carer approves by telling the code, and in no other way.")
        if approves and _is_represented(connection, request.patient, now):
            raise Forbidden("Who decides for the patient approves, by telling the code.")
    if approves:
        return _activate_grant(context, request, "$approve-access", by="patient")
    with step_transaction(context, "$refuse-access") as step:
        if not decide_request(
            step.connection, identity, "refused", by=requester.person, now_ms=now
        ):
            raise Conflict(REQUEST_CLOSED)
        step.update_consent(str(request.consent), status="rejected")
        step.patients.append(request.patient)
    return replace(request, state="refused")


def _activate_grant(
    context: RequestContext, request: AccessRequest, operation: str, *, by: str
) -> AccessRequest:
    now = context.access.now_ms
    until = now + request.hours * _HOUR_MS
    with step_transaction(context, operation) as step:
        connection = step.connection
        if not decide_request(connection, request.id, "active", by=by, now_ms=now, until_ms=until):
            raise Conflict(REQUEST_CLOSED)
        body = consents.build_step_up_consent(
            request.id, request.patient, request.asked_ms,
            person={"id": request.person, "display": request.display},
            organization=str(request.organization), domains=request.domains, reason=request.reason,
        )  # fmt: skip
        provision = {**body["provision"], "period": consents.build_period(now, until)}
        step.update_consent(str(request.consent), status="active", provision=provision)
        for reader in list_readers(connection, request.patient, now):
            queue_notice(connection, _build_notice(request, "access-granted", reader, until, now))
        step.patients.append(request.patient)
    return replace(request, state="active", until_ms=until, decided_ms=now, decided_by=by)


def _find_own_request(
    context: RequestContext, clinician: Clinician, identity: str
) -> AccessRequest:
    """Another's request is as good as absent, and so is one's own for another organisation."""
    with context.gateway.store.read_transaction() as connection:
        request = find_request(connection, identity, "step-up")
    if request is None or (request.person, request.organization) != (
        clinician.id,
        clinician.organization,
    ):
        raise NotFound(NO_REQUEST)
    if request.state != "proposed" or request.expires_ms <= context.access.now_ms:
        raise Conflict(REQUEST_CLOSED)
    return request


def _record_attempt(context: RequestContext, request: AccessRequest) -> bool:
    with context.gateway.store.write_transaction() as connection:
        row = connection.execute(
            "UPDATE access_request SET tries = tries + 1 WHERE id = ? AND state = 'proposed'"
            " AND tries < ? AND expires_ms > ? RETURNING tries",
            (request.id, context.gateway.settings.limits.code_tries, context.access.now_ms),
        ).fetchone()
    return row is not None


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
    """A new request takes the place of one that waits, and clears what waited too long."""
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


def _list_deciders(connection: Connection, patient: str, now_ms: int) -> list[str]:
    carer_readers = list_carer_readers(connection, patient, now_ms)
    if _is_represented(connection, patient, now_ms):
        return carer_readers
    return [patient_reader(patient), *carer_readers]


def _is_represented(connection: Connection, patient: str, now_ms: int) -> bool:
    """Say whether somebody else decides for the patient: under 16, or recorded as incapable."""
    incapable = connection.execute(
        "SELECT 1 FROM access_request r JOIN consent_carer c ON c.consent = r.consent"
        " WHERE r.kind = 'substitute' AND r.patient = ? AND r.state = 'active'"
        " AND c.since <= ? AND (c.until IS NULL OR ? < c.until)",
        (patient, now_ms, now_ms),
    ).fetchone()
    return incapable is not None or _is_under_age(read_patient(connection, patient), now_ms)


def _is_under_age(patient: dict[str, object], now_ms: int) -> bool:
    birth = str(patient.get("birthDate", ""))
    # Known to the month or year only: of age when everyone born then is.
    last = {4: f"{birth}-12-31", 7: f"{birth}-28"}.get(len(birth), birth)
    try:
        comes_of_age = anniversary(date.fromisoformat(last), _DECISION_AGE)
    except ValueError:
        return False
    return (
        datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(JURISDICTION.zone).date()
        < comes_of_age
    )


def _build_notice(
    request: AccessRequest, kind: str, reader: str, until_ms: int, now_ms: int
) -> Notice:
    return Notice(
        f"{kind}:{request.id}", kind, request.patient, reader, request.display,
        request.organization, now_ms, request=request.id, until_ms=until_ms,
    )  # fmt: skip
