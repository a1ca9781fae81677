"""Tell patients and stewards what was changed in the facts that consent goes by.

An author moves a record to another patient, or takes away the label by which a restriction closed
it or what names it; a steward corrects a record on request. Each is done in the open: the patients
are told, and a move is on the steward's worklist.
"""

from __future__ import annotations

from collections.abc import Iterable

from ehr_gateway.access_requests.request_rows import AccessRequest, insert_request
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id, uuid7
from ehr_gateway.notices.outbox import Notice, list_readers, queue_notice
from ehr_gateway.store.consequences import Consequence

__all__ = ["record_correction", "tell_consequence", "tell_patients"]

# The rule of the worklist under which a move is found.
MOVED_RULE = "record-moved"
_NOTICE_KINDS = {
    "moved": "record-moved",
    "loosened": "record-opened",
    "opened": "record-opened",
    "recorded": "choice-recorded",
}


def tell_consequence(connection: Connection, consequence: Consequence) -> None:
    """Queue the notices of one consequence; put a move on the steward's worklist."""
    requester = consequence.requester
    cause = f"{consequence.kind}:{consequence.cause}"
    for patient in sorted(consequence.patients):
        tell_patients(
            connection,
            [patient],
            kind=_NOTICE_KINDS[consequence.kind],
            cause=f"{cause}:{patient}",
            person=requester.person,
            organization=requester.organization,
            at_ms=consequence.at_ms,
        )
        if consequence.kind == "moved":
            _flag_move(connection, consequence, patient)


def tell_patients(
    connection: Connection,
    patients: Iterable[str],
    *,
    kind: str,
    cause: str,
    person: str,
    organization: str | None,
    at_ms: int,
) -> None:
    """Queue a notice to each patient and those who manage for them."""
    for patient in patients:
        for reader in list_readers(connection, patient, at_ms):
            queue_notice(
                connection, Notice(cause, kind, patient, reader, person, organization, at_ms)
            )


def record_correction(
    connection: Connection,
    context: RequestContext,
    *,
    act: str,
    record: str,
    patients: Iterable[str],
    reason: str,
) -> None:
    """Keep a steward's correction with its reason, and tell the patients of it."""
    requester, now = context.access.requester, context.access.now_ms
    for patient in sorted(patients):
        request = AccessRequest(
            id=new_id(),
            kind="correction",
            state="active",
            patient=patient,
            person=requester.person,
            display=context.caller.subject.display,
            organization=requester.organization,
            profession=None,
            reason=reason,
            details={"act": act, "record": record},
            asked_ms=now,
            expires_ms=now,
            decided_ms=now,
            decided_by=requester.person,
        )
        insert_request(connection, request)
        tell_patients(
            connection,
            [patient],
            kind="record-moved" if act == "move" else "record-corrected",
            cause=f"correction:{request.id}",
            person=request.display,
            organization=requester.organization,
            at_ms=now,
        )


def _flag_move(connection: Connection, consequence: Consequence, patient: str) -> None:
    requester = consequence.requester
    account = connection.execute(
        "SELECT login, display FROM account WHERE login = ? OR person = ?",
        (requester.person, requester.person),
    ).fetchone()
    login = account["login"] if account else requester.person
    display = account["display"] if account else requester.person
    connection.execute(
        "INSERT INTO audit_flag (id, flag_key, rule, login, display, organization, patient,"
        " since_ms, until_ms, number, found_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?,"
        " 'open') ON CONFLICT DO NOTHING",
        (
            uuid7().hex,
            f"{MOVED_RULE}:{consequence.cause}:{patient}",
            MOVED_RULE,
            login,
            display,
            requester.organization,
            patient,
            consequence.at_ms,
            consequence.at_ms,
            consequence.at_ms,
        ),
    )
