"""Approval of a step-up request: by one-time code, by smart ID, or on the patient's own page."""

from __future__ import annotations

from dataclasses import replace

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.deciders import is_represented
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    find_request,
)
from ehr_gateway.access_requests.role_checks import (
    Clinician,
    can_decide,
)
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.access_requests.step_up import build_notice
from ehr_gateway.accounts import accounts
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.notices import one_time_codes
from ehr_gateway.notices.outbox import (
    list_readers,
    queue_notice,
)

__all__ = ["answer_step_up", "approve_by_code", "approve_by_eid"]

_HOUR_MS = 3_600_000
NOT_APPROVED = "This does not approve the request. Ask the patient, or ask for a new code."
REQUEST_CLOSED = "The request is answered, or waited too long. Make a new one."
NO_REQUEST = "There is no such request."


def approve_by_code(
    context: RequestContext, clinician: Clinician, identity: str, code: str
) -> AccessRequest:
    """Approve a request by the one-time code that the patient told the clinician.

    Each attempt is counted before the code is checked, so that concurrent guesses count too.
    """
    request = _find_own_request(context, clinician, identity)
    if not _record_attempt(context, request) or not one_time_codes.verify_code(
        context.gateway.form_secret, request.id, code
    ):
        raise Forbidden(NOT_APPROVED)
    return _activate_grant(context, request, "$redeem-access", by="code")


def approve_by_eid(
    context: RequestContext, clinician: Clinician, identity: str, number: str, pin: str
) -> AccessRequest:
    """Approve a request by the patient's own smart ID at the desk; a carer's is refused."""
    request = _find_own_request(context, clinician, identity)
    if not _record_attempt(context, request):
        raise Forbidden(NOT_APPROVED)
    with context.gateway.store.read_transaction() as connection:
        has_representative = is_represented(connection, request.patient, context.access.now_ms)
    try:
        account = accounts.verify_eid(context.gateway.store, number, pin, context.access.now_ms)
    except accounts.LoginRefused as error:
        raise Forbidden(NOT_APPROVED) from error
    if has_representative or account.role != "patient" or account.patient != request.patient:
        raise Forbidden(NOT_APPROVED)
    return _activate_grant(context, request, "$redeem-access", by="eid")


def answer_step_up(context: RequestContext, identity: str, *, approves: bool) -> AccessRequest:
    """Approve or refuse on the patient's own page. A carer may refuse; they approve by the code."""
    now, requester = context.access.now_ms, context.access.requester
    with context.gateway.store.read_transaction() as connection:
        request = find_request(connection, identity, "step-up")
        if request is None:
            raise NotFound(NO_REQUEST)
        if not can_decide(connection, context.access, request.patient):
            raise NotFound(NO_REQUEST)
        if approves and requester.role != "patient":
            raise Forbidden("A carer approves by telling the code, and in no other way.")
        if approves and is_represented(connection, request.patient, now):
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
            queue_notice(connection, build_notice(request, "access-granted", reader, until, now))
        step.patients.append(request.patient)
    return replace(request, state="active", until_ms=until, decided_ms=now, decided_by=by)


def _find_own_request(
    context: RequestContext, clinician: Clinician, identity: str
) -> AccessRequest:
    """Return the clinician's own request; NotFound for one of another person or organisation."""
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
