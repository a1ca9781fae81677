"""Invitations of carers: create one for a patient, accept one by its code.

The code is handed over by people and only its hash is stored; nobody is looked up by an identity
number. Accepting writes the carer's Consent, a restriction for the domains that stay closed, and
notifies the patient.
"""

from __future__ import annotations

import json
from dataclasses import replace

from ehr_fhir.errors import Conflict, Forbidden, NotFound, TooMany, Unprocessable
from ehr_gateway.access_requests import consents
from ehr_gateway.access_requests.legal_order import (
    check_age_basis,
    check_legal_order,
    end_lower_ranked_substitutes,
)
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    insert_request,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    require_visible_patient,
)
from ehr_gateway.access_requests.step_transaction import step_transaction
from ehr_gateway.accounts import throttle
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.notices import one_time_codes
from ehr_gateway.notices.outbox import Notice, patient_reader, queue_notice
from ehr_privacy.substitutes import Basis, load_substitutes

__all__ = [
    "BASES", "POWERS", "RELATIONS", "accept_invitation", "invite_carer", "record_substitute",
]  # fmt: skip

POWERS = {"view": ("view",), "manage": ("manage",), "both": ("view", "manage")}
# Under 16, or not able to decide (Cap. 625).
BASES = ("minor", "incapable")
RELATIONS = load_substitutes().relations
_DAY_MS = 86_400_000
# Both chosen: a week to meet and hand over the code; more open ones are a mistake or a nuisance.
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
    """Create a patient's invitation of a carer; return it with the code, which is shown once.

    Raises NotFound unless the patient asks in person, TooMany with too many open invitations.
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
    """Invite a substitute decision maker of a patient who is a minor or lacks capacity.

    By a clinician or a steward. Raises NotFound for a patient whom the caller may not see,
    Forbidden for other roles.
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
    """Accept an invitation by its code; from then on the carer may act.

    Raises Forbidden unless the caller is a carer, NotFound for a wrong code. Attempts are throttled
    like those of passwords.
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
            # A substitute of higher rank may have accepted since this one was invited.
            check_legal_order(connection, request, now)
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
            end_lower_ranked_substitutes(step, request, now)
        queue_notice(
            connection,
            Notice(
                f"{request.kind}:{request.id}", request.kind, request.patient,
                patient_reader(request.patient), display, None, now,
            ),
        )  # fmt: skip
        step.patients.append(request.patient)
    return replace(request, state="active", person=requester.person, display=display)


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
            # After the check of visibility: a patient whom the caller may not see and one who does
            # not exist give the same answer.
            check_age_basis(step.connection, request)
            check_legal_order(step.connection, request, now)
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


def _throttle_attempts(context: RequestContext) -> None:
    key = f"invitation:{context.access.requester.person}"
    with context.gateway.store.write_transaction() as connection:
        wait = throttle.remaining_wait_ms(connection, key, context.access.now_ms)
        if not wait:
            throttle.record_failure(connection, key, context.access.now_ms)
    if wait:
        raise TooMany("Too many codes were tried. Wait, then go on.")
