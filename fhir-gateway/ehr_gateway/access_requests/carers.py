"""Carers: invited by the patient, or recorded for one who cannot decide; the invited one accepts.

Whoever invites hands over a code; nobody looks people up by their identity card here. Accepting
writes the carer's Consent, a restriction for the domains that stay closed, and tells the patient.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from ehr_fhir.errors import Conflict, Forbidden, NotFound, TooMany, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    insert_request,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    can_manage,
    read_patient,
    require_visible_patient,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.accounts import throttle
from ehr_gateway.database import Connection, Row
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices import one_time_codes
from ehr_gateway.notices.outbox import Notice, patient_reader, queue_notice
from ehr_privacy.consent.instants import span
from ehr_privacy.substitutes import Basis, decision_right, load_substitutes, substitution_basis

__all__ = [
    "BASES",
    "POWERS",
    "RELATIONS",
    "accept_invitation",
    "end_carer",
    "invite_carer",
    "list_carers",
    "list_represented_patients",
    "record_substitute",
]  # fmt: skip

POWERS = {"view": ("view",), "manage": ("manage",), "both": ("view", "manage")}
# Under 16, or not able to decide (Cap. 625).
BASES = ("minor", "incapable")
RELATIONS = load_substitutes().relations
_DAY_MS = 86_400_000
_INVITATION_DAYS = 7
_MAX_OPEN_INVITATIONS = 5
NO_INVITATION = "This code opens nothing. Check it with the person who gave it to you."


def invite_carer(
    context: RequestContext,
    patient: str,
    *,
    power: str,
    closed_domains: tuple[str, ...],
    until_ms: int | None,
) -> tuple[AccessRequest, str]:
    """Let a patient invite a carer; return the code to hand over, which is shown once.

    Raises NotFound for all but the patient in person, TooMany with too many open invitations.
    """
    requester, now = context.access.requester, context.access.now_ms
    if requester.role != "patient" or requester.patient != patient:
        raise NotFound("There is no Patient with this id.")
    details: dict[str, object] = {"power": power, "until_ms": until_ms}
    return _create_invitation(
        context, "carer", patient, "$invite-carer", details, closed_domains, now
    )


def record_substitute(
    context: RequestContext,
    patient: str,
    *,
    relation: str,
    basis: Basis,
    reason: str,
    until_ms: int,
) -> tuple[AccessRequest, str]:
    """Record who decides for a patient under 16 or without capacity: a clinician or a steward.

    Raises NotFound for a patient the recorder cannot name, Forbidden for other roles.
    """
    role, now = context.access.requester.role, context.access.now_ms
    if role not in ("clinician", "steward"):
        raise Forbidden("A clinician or a steward records who decides for a patient.")
    details: dict[str, object] = {
        "power": "both",
        "relation": relation,
        "basis": basis,
        "until_ms": until_ms,
    }
    return _create_invitation(
        context, "substitute", patient, "$record-substitute", details, (), now, reason=reason
    )


def accept_invitation(context: RequestContext, code: str) -> AccessRequest:
    """Take up an invitation: from then on the carer may act.

    Raises Forbidden for all but a carer's account, NotFound for a code that opens nothing; guesses
    are slowed down like those of passwords.
    """
    requester, now = context.access.requester, context.access.now_ms
    if requester.role != "carer":
        raise Forbidden("Log in as a carer to take up an invitation.")
    _throttle_attempts(context)
    display = context.caller.subject.display
    person = {"id": requester.person, "display": display}
    with step_transaction(context, "$accept-invitation") as step:
        connection = step.connection
        requests = select_requests(
            connection,
            "code = :code AND state = 'proposed' AND expires_ms > :now",
            code=one_time_codes.hash_invitation_code(code),
            now=now,
        )
        if not requests:
            raise NotFound(NO_INVITATION)
        request = requests[0]
        until = request.details.get("until_ms")
        if until is not None and until <= now:
            raise NotFound(NO_INVITATION)
        if request.kind == "substitute":
            # Somebody who comes before may have accepted since this one was invited.
            _check_legal_order(connection, request, now)
        consent = step.create_consent(
            consents.build_carer_consent(
                request.id, request.patient, now, until, person=person,
                powers=POWERS[request.details["power"]],
            )
        )  # fmt: skip
        details = dict(request.details)
        if request.domains:
            details["limit"] = step.create_consent(
                consents.build_carer_restriction(
                    request.id, request.patient, now, until, person=person,
                    domains=request.domains,
                )
            )  # fmt: skip
        if not decide_request(
            connection, request.id, "active", by=requester.person, now_ms=now, until_ms=until,
            consent=consent,
        ):  # fmt: skip
            raise Conflict("This invitation was taken up a moment ago.")
        connection.execute(
            "UPDATE access_request SET person = ?, display = ?, details = ? WHERE id = ?",
            (requester.person, display, json.dumps(details), request.id),
        )
        throttle.clear_failures(connection, f"invitation:{requester.person}")
        if request.kind == "substitute":
            _end_lower_ranked_substitutes(step, request, now)
        queue_notice(
            connection,
            Notice(
                f"{request.kind}:{request.id}", request.kind, request.patient,
                patient_reader(request.patient), display, None, now,
            ),
        )  # fmt: skip
        step.patients.append(request.patient)
    return replace(request, state="active", person=requester.person, display=display)


def end_carer(context: RequestContext, identity: str) -> None:
    """End a carer's power, or take an invitation back: the patient, the carer, or a steward."""
    requester, now = context.access.requester, context.access.now_ms
    with step_transaction(context, "$end-carer") as step:
        connection = step.connection
        requests = select_requests(
            connection,
            "id = :id AND kind IN ('carer', 'substitute') AND state IN ('proposed', 'active')",
            id=identity,
        )
        if not requests or not _may_end(context, requests[0]):
            raise NotFound("There is no such carer.")
        request = requests[0]
        connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ?, decided_by = ?, code = NULL"
            " WHERE id = ?",
            (now, requester.person, identity),
        )
        for consent in (request.consent, request.details.get("limit")):
            if consent:
                step.update_consent(str(consent), status="inactive")
        step.patients.append(request.patient)


def list_carers(
    connection: Connection, context: RequestContext, patient: str
) -> Sequence[AccessRequest]:
    """Return a patient's carers and open invitations: for the patient, who decides, the steward."""
    requester = context.access.requester
    is_patient = requester.role == "patient" and requester.patient == patient
    if (
        not is_patient
        and requester.role != "steward"
        and not can_manage(connection, context.access, patient)
    ):
        raise NotFound("There is no Patient with this id.")
    return select_requests(
        connection,
        "kind IN ('carer', 'substitute') AND patient = :patient"
        " AND ((state = 'proposed' AND expires_ms > :now)"
        " OR (state = 'active' AND (until_ms IS NULL OR until_ms > :now)"
        " AND EXISTS (SELECT 1 FROM consent_carer c WHERE c.consent = access_request.consent)))",
        patient=patient,
        now=context.access.now_ms,
    )


def list_represented_patients(connection: Connection, context: RequestContext) -> list[Row]:
    """Return whom a carer may act for now, with the powers."""
    now = context.access.now_ms
    return connection.execute(
        "SELECT patient, MAX(can_view) AS can_view, MAX(can_manage) AS can_manage"
        " FROM consent_carer WHERE person = ? AND since <= ? AND (until IS NULL OR ? < until)"
        " GROUP BY patient ORDER BY patient",
        (context.access.requester.person, now, now),
    ).fetchall()


def _create_invitation(
    context: RequestContext,
    kind: str,
    patient: str,
    operation: str,
    details: dict[str, object],
    closed_domains: tuple[str, ...],
    now: int,
    reason: str = "",
) -> tuple[AccessRequest, str]:
    until = details["until_ms"]
    if until is not None and int(str(until)) <= now:
        raise Unprocessable("The term is over.", expression="Parameters.parameter")
    code = one_time_codes.generate_invitation_code()
    requester = context.access.requester
    request = AccessRequest(
        id=new_id(),
        kind=kind,
        patient=patient,
        person="",
        display=context.caller.subject.display if kind == "substitute" else "",
        organization=requester.organization,
        profession=requester.profession,
        reason=reason,
        domains=closed_domains,
        details={**details, "by": requester.person},
        asked_ms=now,
        expires_ms=now + _INVITATION_DAYS * _DAY_MS,
        code=one_time_codes.hash_invitation_code(code),
    )
    with step_transaction(context, operation) as step:
        if kind == "substitute" and requester.role == "clinician":
            require_visible_patient(step.connection, context.access, patient)
        if kind == "substitute":
            # Not before: a patient whom the recorder cannot name answers as one who is not there.
            _check_age_basis(step.connection, request)
            _check_legal_order(step.connection, request, now)
        open_invitations = select_requests(
            step.connection,
            "patient = :patient AND kind = :kind AND state = 'proposed' AND expires_ms > :now",
            patient=patient,
            kind=kind,
            now=now,
        )
        if len(open_invitations) >= _MAX_OPEN_INVITATIONS:
            raise TooMany("There are too many open invitations. Take one back first.")
        insert_request(step.connection, request)
        step.patients.append(patient)
    return request, code


def _check_age_basis(connection: Connection, request: AccessRequest) -> None:
    """Refuse to decide as for a child for somebody who is none, by the date of birth on record."""
    birth_date = str(read_patient(connection, request.patient).get("birthDate", ""))
    if request.details["basis"] != "minor" or not birth_date:
        return
    # Of a date in part the latest day counts.
    latest = _local_date(span(birth_date)[1] - 1)
    if substitution_basis(latest, _local_date(request.asked_ms), incapable=False) != "minor":
        raise Unprocessable(
            "This patient is not a child any more by the date of birth on record.",
            expression="Parameters.parameter",
        )


def _local_date(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, JURISDICTION.zone).date()


def _check_legal_order(connection: Connection, request: AccessRequest, now_ms: int) -> None:
    basis, relation = request.details["basis"], request.details["relation"]
    substitutes = _list_substitutes(connection, request.patient, now_ms)
    others = [substitute.details["relation"] for substitute in substitutes]
    if not decision_right(basis, relation, others).may:
        raise Unprocessable(
            "Somebody who comes before in the order of the law decides for this patient, or a"
            " person of this relation never does.",
            expression="Parameters.parameter",
        )


def _list_substitutes(connection: Connection, patient: str, now_ms: int) -> Sequence[AccessRequest]:
    return select_requests(
        connection,
        "kind = 'substitute' AND state = 'active' AND patient = :patient"
        " AND (until_ms IS NULL OR until_ms > :now)"
        " AND EXISTS (SELECT 1 FROM consent_carer c WHERE c.consent = access_request.consent)",
        patient=patient,
        now=now_ms,
    )


def _end_lower_ranked_substitutes(
    step: StepTransaction, request: AccessRequest, now_ms: int
) -> None:
    """Whoever comes later in the order of the law decides no more."""
    relation = request.details["relation"]
    for other in _list_substitutes(step.connection, request.patient, now_ms):
        basis, other_relation = other.details["basis"], other.details["relation"]
        if other.id == request.id or decision_right(basis, other_relation, [relation]).may:
            continue
        step.connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ? WHERE id = ?",
            (now_ms, other.id),
        )
        step.update_consent(str(other.consent), status="inactive")


def _may_end(context: RequestContext, request: AccessRequest) -> bool:
    requester = context.access.requester
    if requester.role == "carer":
        return request.person == requester.person
    # Whoever was recorded to decide for a patient is not ended by the one he decides for.
    is_patient = requester.role == "patient" and requester.patient == request.patient
    return requester.role == "steward" or (is_patient and request.kind == "carer")


def _throttle_attempts(context: RequestContext) -> None:
    key = f"invitation:{context.access.requester.person}"
    with context.gateway.store.write_transaction() as connection:
        wait = throttle.remaining_wait_ms(connection, key, context.access.now_ms)
        if not wait:
            throttle.record_failure(connection, key, context.access.now_ms)
    if wait:
        raise TooMany("Too many codes were tried. Wait, then go on.")
