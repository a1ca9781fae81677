"""Correction requests of patients (PDPO sections 22 to 25): asked, answered, and the statement.

A patient asks for a correction of a record in words. The organisation that wrote the record answers
within 40 days: accepted, and its next version corrects the record, or refused with a reason. After
a refusal the patient may attach a statement, which whoever reads the record finds with it. The
words are kept in the table of requests alone, never in an address, a log or a notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ehr_fhir.errors import Conflict, Forbidden, NotFound, TooMany, Unprocessable
from ehr_gateway.access import Access
from ehr_gateway.access_requests.record_changes import tell_patients
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    find_request,
    insert_request,
    select_in_order,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import can_decide, can_manage, require_decider
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.store.visible import is_current_visible, read_on

__all__ = [
    "CORRECTION_KIND",
    "OUTCOMES",
    "CorrectionRequest",
    "answer_correction",
    "attach_statement",
    "insert_correction",
    "list_organization_corrections",
    "list_patient_corrections",
    "list_record_corrections",
    "request_correction",
    "require_no_waiting_correction",
]

CORRECTION_KIND = "correction-request"
# PDPO sections 23(1) and 25(1): comply, or refuse with reasons, within 40 days.
ANSWER_MS = 40 * 86_400_000
OUTCOMES = ("accepted", "refused")
# Chosen: more than anybody asks for at once, and no flood for a hospital.
_MOST_WAITING = 30
# Of those that are accepted, the newest that are looked through for what is not done yet. Chosen.
_MOST_ACCEPTED = 1000
NO_REQUEST = "There is no such request."
# Whose content its patient does not correct in this way.
_OTHER_WAYS = {
    "Patient": "Name, birth date, sex and identity document are changed by a proposal.",
    "Consent": "A choice is changed by a new choice.",
    "AuditEvent": "The audit log is not changed.",
}


@dataclass(frozen=True)
class CorrectionRequest:
    """A request, with when its record was changed since; None if it was not."""

    request: AccessRequest
    changed_ms: int | None

    @property
    def record(self) -> str:
        """The record as a reference."""
        return str(self.request.details["record"])


def request_correction(
    context: RequestContext, patient: str, record: str, text: str
) -> AccessRequest:
    """Ask the organisation that wrote a record to correct it.

    Raises NotFound for whoever may not decide for the patient, and for a record that they do not
    see; Conflict while an earlier request about the record waits.
    """
    kind, _, identity = record.partition("/")
    if kind in _OTHER_WAYS:
        raise Unprocessable(_OTHER_WAYS[kind], expression="Parameters.parameter")
    with step_transaction(context, "$request-correction") as step:
        connection = step.connection
        require_decider(connection, context.access, patient)
        version = read_on(connection, context.access, kind, identity, with_facts=True)
        if version.facts is None or patient not in version.facts.record.patients:
            raise NotFound(f"There is no {kind} with this id.")
        if version.author is None:
            raise Unprocessable("What you wrote down yourself you correct yourself.")
        if len(require_no_waiting_correction(connection, patient, record)) >= _MOST_WAITING:
            raise TooMany("Too many requests wait for an answer.")
        request = insert_correction(
            connection, context, patient,
            record=record, version=version.version, organization=version.author, reason=text,
        )  # fmt: skip
        _add_audit_targets(step, request)
    return request


def require_no_waiting_correction(
    connection: Connection, patient: str, record: str
) -> Sequence[AccessRequest]:
    """Raise Conflict if a request about a record waits; return the patient's others that do."""
    waiting = select_requests(
        connection,
        "kind = :kind AND patient = :patient AND state = 'requested'",
        kind=CORRECTION_KIND,
        patient=patient,
    )
    if any(request.details["record"] == record for request in waiting):
        raise Conflict("A correction of this record is asked for already.")
    return waiting


def insert_correction(
    connection: Connection,
    context: RequestContext,
    patient: str,
    *,
    record: str,
    version: int,
    organization: str,
    reason: str,
) -> AccessRequest:
    """Insert the caller's request that an organisation correct a version of a patient's record."""
    now = context.access.now_ms
    request = AccessRequest(
        id=new_id(),
        kind=CORRECTION_KIND,
        state="requested",
        patient=patient,
        person=context.access.requester.person,
        display=context.caller.subject.display,
        organization=organization,
        profession=None,
        reason=reason,
        details={"record": record, "version": version},
        asked_ms=now,
        expires_ms=now + ANSWER_MS,
    )
    insert_request(connection, request)
    return request


def answer_correction(context: RequestContext, identity: str, outcome: str, reason: str) -> None:
    """Answer a request by an outcome of OUTCOMES: a clinician of the organisation that wrote it.

    Raises NotFound for a request to another organisation or about a record that the clinician does
    not see, Conflict for one that is answered.
    """
    requester, now = context.access.requester, context.access.now_ms
    if requester.role != "clinician":
        raise Forbidden("A clinician of the organisation that wrote the record answers.")
    with step_transaction(context, "$answer-correction") as step:
        connection = step.connection
        request = find_request(connection, identity, CORRECTION_KIND)
        if (
            request is None
            or request.organization != requester.organization
            or not _is_visible(connection, context.access, request)
        ):
            raise NotFound(NO_REQUEST)
        updated = connection.execute(
            "UPDATE access_request SET state = :state, decided_by = :by, decided_ms = :now,"
            " review_note = :note, reviewer = :display, reviewed_ms = :now"
            " WHERE id = :id AND state = 'requested' RETURNING id",
            {
                "state": outcome,
                "by": requester.person,
                "now": now,
                "note": reason,
                "display": context.caller.subject.display,
                "id": identity,
            },
        ).fetchone()
        if updated is None:
            raise Conflict("This request is answered already.")
        tell_patients(
            connection,
            [request.patient],
            kind="correction-answered",
            cause=f"correction-answered:{identity}",
            person=context.caller.subject.display,
            organization=requester.organization,
            at_ms=now,
        )
        _add_audit_targets(step, request)


def attach_statement(context: RequestContext, identity: str, text: str) -> None:
    """Attach the patient's statement to a record whose correction was refused.

    A later statement takes the place of an earlier one. Raises NotFound for whoever may not decide
    for the patient, Conflict where nothing was refused.
    """
    with step_transaction(context, "$attach-statement") as step:
        connection = step.connection
        request = find_request(connection, identity, CORRECTION_KIND)
        if (
            request is None
            or not can_decide(connection, context.access, request.patient)
            or not _is_visible(connection, context.access, request)
        ):
            raise NotFound(NO_REQUEST)
        if request.state != "refused":
            raise Conflict("A statement is for what was refused.")
        details = {**request.details, "statement": text, "statement_ms": context.access.now_ms}
        connection.execute(
            "UPDATE access_request SET details = ? WHERE id = ?", (json.dumps(details), identity)
        )
        _add_audit_targets(step, request)


def list_patient_corrections(
    connection: Connection, access: Access, patient: str
) -> list[CorrectionRequest]:
    """Return a patient's requests, to the patient and who decides for them, newest first."""
    require_decider(connection, access, patient)
    requests = select_requests(
        connection, "kind = :kind AND patient = :patient", kind=CORRECTION_KIND, patient=patient
    )
    return _add_change_times(
        connection,
        [request for request in requests if _is_shown_to_asker(connection, access, request)],
    )


def list_organization_corrections(
    connection: Connection, access: Access
) -> list[CorrectionRequest]:
    """Return the requests to a clinician's organisation, and to a steward all, newest first."""
    requester = access.requester
    if requester.role == "steward":
        return _select_worklist(connection, "kind = :kind", kind=CORRECTION_KIND)
    if requester.role != "clinician" or not requester.organization:
        raise Forbidden("Requests are for clinicians of the organisation asked, and for stewards.")
    corrections = _select_worklist(
        connection,
        "kind = :kind AND organization = :organization",
        kind=CORRECTION_KIND,
        organization=requester.organization,
    )
    return [found for found in corrections if _is_visible(connection, access, found.request)]


def _select_worklist(
    connection: Connection, condition: str, **values: object
) -> list[CorrectionRequest]:
    """Return what waits, what is accepted and not done, and the newest of all, newest first.

    Of what waits those are never left out that are due first.
    """
    waiting = select_in_order(connection, f"{condition} AND state = 'requested'", values, "oldest")
    accepted = select_in_order(
        connection, f"{condition} AND state = 'accepted'", values, "newest", _MOST_ACCEPTED
    )
    newest = select_in_order(connection, condition, values, "newest")
    by_id = {request.id: request for request in (*accepted, *waiting, *newest)}
    shown = {request.id for request in (*waiting, *newest)}
    corrections = [
        correction
        for correction in _add_change_times(connection, by_id.values())
        if correction.changed_ms is None or correction.request.id in shown
    ]
    return sorted(corrections, key=lambda c: (c.request.asked_ms, c.request.id), reverse=True)


def list_record_corrections(
    connection: Connection, access: Access, kind: str, identity: str
) -> list[CorrectionRequest]:
    """Return the requests about a record that the reader sees: to most, those with a statement.

    The others are between the patient and the organisation that wrote it.
    """
    version = read_on(connection, access, kind, identity)
    requests = select_requests(
        connection,
        "kind = :kind AND patient IN (SELECT patient FROM record_patient WHERE pk = :pk)",
        kind=CORRECTION_KIND,
        pk=version.pk,
    )
    return _add_change_times(
        connection,
        [
            request
            for request in requests
            if request.details["record"] == f"{kind}/{identity}"
            and _is_shown_with_record(connection, access, request)
        ],
    )


def _is_shown_with_record(connection: Connection, access: Access, request: AccessRequest) -> bool:
    """Say whether a reader of the record sees a request about it."""
    requester = access.requester
    return (
        "statement" in request.details
        or request.patient == requester.patient
        or (requester.role == "clinician" and request.organization == requester.organization)
        or can_manage(connection, access, request.patient)
    )


def _add_change_times(
    connection: Connection, requests: Iterable[AccessRequest]
) -> list[CorrectionRequest]:
    found = []
    for request in requests:
        kind, _, identity = str(request.details["record"]).partition("/")
        row = connection.execute(
            "SELECT last_updated FROM resource WHERE type = ? AND id = ? AND current = 1"
            " AND version > ?",
            (kind, identity, request.details["version"]),
        ).fetchone()
        found.append(CorrectionRequest(request, None if row is None else int(row[0])))
    return found


def _is_shown_to_asker(connection: Connection, access: Access, request: AccessRequest) -> bool:
    """Say whether the patient, or who decides for them, sees a request and its answer.

    Who asked sees it whatever became of the record: "this is not mine" is accepted by moving it to
    somebody else. A carer does not learn by another's request what is closed to them.
    """
    requester = access.requester
    return (
        requester.role == "patient"
        or request.person == requester.person
        or _is_visible(connection, access, request)
    )


def _is_visible(connection: Connection, access: Access, request: AccessRequest) -> bool:
    kind, _, identity = str(request.details["record"]).partition("/")
    return is_current_visible(connection, access, kind, identity)


def _add_audit_targets(step: StepTransaction, request: AccessRequest) -> None:
    step.patients.append(request.patient)
    step.entities.append(str(request.details["record"]))
