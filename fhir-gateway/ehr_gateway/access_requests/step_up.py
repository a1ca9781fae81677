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
from ehr_gateway.access_requests.markers import shared
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide,
    find,
    insert,
    overdue,
    select,
)
from ehr_gateway.access_requests.role_checks import (
    Clinician,
    known_patient,
    manages,
    patient_body,
)
from ehr_gateway.access_requests.step_transaction import Writing, step
from ehr_gateway.accounts import accounts
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices import one_time_codes
from ehr_gateway.notices.outbox import Notice, carers_of, of_patient, put, readers_of
from ehr_privacy.consent import load_roles
from ehr_privacy.consent.instants import anniversary

__all__ = ["answer", "approve_by_code", "approve_by_eid", "ask"]

_HOUR_MS = 3_600_000
# From this age the patient decides; before it, who decides for him (Cap. 625).
_DECIDES_FROM = 16
WRONG = "This does not approve the request. Ask the patient, or ask for a new code."
OVER = "The request is answered, or waited too long. Make a new one."
NO_REQUEST = "There is no such request."


def ask(
    context: RequestContext,
    who: Clinician,
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
    if any(matrix.cell("clinician", who.profession, one) == "none" for one in domains):
        raise Unprocessable(
            "No consent opens one of these domains to this profession.",
            expression="Parameters.parameter",
        )
    request = AccessRequest(
        id=new_id(),
        kind="step-up",
        patient=patient,
        person=who.id,
        display=who.display,
        organization=who.organization,
        profession=who.profession,
        reason=reason,
        asked_ms=now,
        expires_ms=now + limits.code_minutes * 60_000,
        domains=domains,
        hours=hours,
    )
    with step(context, "$request-access") as writing:
        connection = writing.connection
        known_patient(connection, context.access, patient)
        if not shared(connection, context.access.requester, patient, now):
            raise Unprocessable("There is no sharing consent for your organisation.")
        _check_flood(connection, context, who, patient)
        _void(writing, request)
        consent = consents.step_up(
            request.id, patient, now, person=who.actor, organization=who.organization,
            domains=domains, reason=reason,
        )  # fmt: skip
        request = replace(request, consent=writing.create(consent))
        insert(connection, request)
        for reader in _deciders(connection, patient, now):
            put(connection, _told(request, "access-code", reader, request.expires_ms, now))
        writing.patients.append(patient)
    return request


def approve_by_code(
    context: RequestContext, who: Clinician, identity: str, typed: str
) -> AccessRequest:
    """Approve by the code that the patient told the clinician who asked.

    Each try is on the books before it is judged: a hundred at once are still a hundred.
    """
    request = _own(context, who, identity)
    if not _try(context, request) or not one_time_codes.right(
        context.gateway.form_secret, request.id, typed
    ):
        raise Forbidden(WRONG)
    return _grant(context, request, "$redeem-access", by="code")


def approve_by_eid(
    context: RequestContext, who: Clinician, identity: str, hkid: str, pin: str
) -> AccessRequest:
    """Approve by the patient's own smart ID at the clinician's desk; a carer's does not do."""
    request = _own(context, who, identity)
    if not _try(context, request):
        raise Forbidden(WRONG)
    with context.gateway.store.read_transaction() as connection:
        young = _decided_by_others(connection, request.patient, context.access.now_ms)
    try:
        account = accounts.verify_eid(context.gateway.store, hkid, pin, context.access.now_ms)
    except accounts.LoginRefused as error:
        raise Forbidden(WRONG) from error
    if young or account.role != "patient" or account.patient != request.patient:
        raise Forbidden(WRONG)
    return _grant(context, request, "$redeem-access", by="eid")


def answer(context: RequestContext, identity: str, *, approves: bool) -> AccessRequest:
    """Let the patient approve or refuse on the own page; a carer may refuse, and has the code."""
    now, requester = context.access.now_ms, context.access.requester
    with context.gateway.store.read_transaction() as connection:
        request = find(connection, identity, "step-up")
        if request is None:
            raise NotFound(NO_REQUEST)
        own = requester.role == "patient" and requester.patient == request.patient
        if not own and not manages(connection, context.access, request.patient):
            raise NotFound(NO_REQUEST)
        if approves and not own:
            raise Forbidden("A carer approves by telling the code, and in no other way.")
        if approves and _decided_by_others(connection, request.patient, now):
            raise Forbidden("Who decides for the patient approves, by telling the code.")
    if approves:
        return _grant(context, request, "$approve-access", by="patient")
    with step(context, "$refuse-access") as writing:
        if not decide(writing.connection, identity, "refused", by=requester.person, now_ms=now):
            raise Conflict(OVER)
        writing.change(str(request.consent), status="rejected")
        writing.patients.append(request.patient)
    return replace(request, state="refused")


def _grant(
    context: RequestContext, request: AccessRequest, operation: str, *, by: str
) -> AccessRequest:
    now = context.access.now_ms
    until = now + request.hours * _HOUR_MS
    with step(context, operation) as writing:
        connection = writing.connection
        if not decide(connection, request.id, "active", by=by, now_ms=now, until_ms=until):
            raise Conflict(OVER)
        body = consents.step_up(
            request.id, request.patient, request.asked_ms,
            person={"id": request.person, "display": request.display},
            organization=str(request.organization), domains=request.domains, reason=request.reason,
        )  # fmt: skip
        provision = {**body["provision"], "period": consents.period(now, until)}
        writing.change(str(request.consent), status="active", provision=provision)
        for reader in readers_of(connection, request.patient, now):
            put(connection, _told(request, "access-granted", reader, until, now))
        writing.patients.append(request.patient)
    return replace(request, state="active", until_ms=until, decided_ms=now, decided_by=by)


def _own(context: RequestContext, who: Clinician, identity: str) -> AccessRequest:
    """Another's request is as good as absent, and so is one's own for another organisation."""
    with context.gateway.store.read_transaction() as connection:
        request = find(connection, identity, "step-up")
    if request is None or (request.person, request.organization) != (who.id, who.organization):
        raise NotFound(NO_REQUEST)
    if request.state != "proposed" or request.expires_ms <= context.access.now_ms:
        raise Conflict(OVER)
    return request


def _try(context: RequestContext, request: AccessRequest) -> bool:
    with context.gateway.store.write_transaction() as connection:
        row = connection.execute(
            "UPDATE access_request SET tries = tries + 1 WHERE id = ? AND state = 'proposed'"
            " AND tries < ? AND expires_ms > ? RETURNING tries",
            (request.id, context.gateway.settings.limits.code_tries, context.access.now_ms),
        ).fetchone()
    return row is not None


def _check_flood(
    connection: Connection, context: RequestContext, who: Clinician, patient: str
) -> None:
    limits, since = context.gateway.settings.limits, context.access.now_ms - _HOUR_MS
    mine = connection.execute(
        "SELECT COUNT(*) FROM access_request WHERE kind = 'step-up' AND person = ?"
        " AND organization = ? AND asked_ms > ?",
        (who.id, who.organization, since),
    ).fetchone()[0]
    if mine >= limits.requests_an_hour:
        raise TooMany("You made too many requests in an hour. Wait, then go on.")
    sent = connection.execute(
        "SELECT COUNT(*) FROM access_request WHERE kind = 'step-up' AND patient = ?"
        " AND asked_ms > ?",
        (patient, since),
    ).fetchone()[0]
    if sent >= limits.codes_an_hour:
        raise TooMany("This patient was sent too many codes in an hour. Wait, then go on.")


def _void(writing: Writing, request: AccessRequest) -> None:
    """A new request takes the place of one that waits, and clears what waited too long."""
    connection, now = writing.connection, request.asked_ms
    same = "kind = 'step-up' AND patient = :patient"
    mine = f"state = 'proposed' AND {same} AND person = :person AND organization = :organization"
    waiting = select(
        connection,
        mine,
        patient=request.patient,
        person=request.person,
        organization=request.organization,
    )
    late = overdue(connection, same, now, patient=request.patient)
    for one in {one.id: one for one in (*waiting, *late)}.values():
        connection.execute(
            "UPDATE access_request SET state = 'expired', decided_ms = ? WHERE id = ?",
            (now, one.id),
        )
        writing.change(str(one.consent), status="inactive")


def _deciders(connection: Connection, patient: str, now_ms: int) -> list[str]:
    others = carers_of(connection, patient, now_ms)
    if _decided_by_others(connection, patient, now_ms):
        return others
    return [of_patient(patient), *others]


def _decided_by_others(connection: Connection, patient: str, now_ms: int) -> bool:
    """Say whether somebody else decides for the patient: under 16, or recorded as incapable."""
    incapable = connection.execute(
        "SELECT 1 FROM access_request r JOIN consent_carer c ON c.consent = r.consent"
        " WHERE r.kind = 'substitute' AND r.patient = ? AND r.state = 'active'"
        " AND c.since <= ? AND (c.until IS NULL OR ? < c.until)",
        (patient, now_ms, now_ms),
    ).fetchone()
    return incapable is not None or _under_age(patient_body(connection, patient), now_ms)


def _under_age(patient: dict[str, object], now_ms: int) -> bool:
    birth = str(patient.get("birthDate", ""))
    # Known to the month or year only: of age when everyone born then is.
    last = {4: f"{birth}-12-31", 7: f"{birth}-28"}.get(len(birth), birth)
    try:
        comes_of_age = anniversary(date.fromisoformat(last), _DECIDES_FROM)
    except ValueError:
        return False
    return (
        datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(JURISDICTION.zone).date()
        < comes_of_age
    )


def _told(request: AccessRequest, kind: str, reader: str, until_ms: int, now_ms: int) -> Notice:
    return Notice(
        f"{kind}:{request.id}", kind, request.patient, reader, request.display,
        request.organization, now_ms, request=request.id, until_ms=until_ms,
    )  # fmt: skip
