"""The steward's review of emergencies and step-ups: justified or not, with a note."""

from __future__ import annotations

from collections.abc import Sequence

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_gateway.access_requests.request_rows import AccessRequest, select
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.store.store import Store

__all__ = ["FINDINGS", "review", "worklist"]

FINDINGS = ("justified", "not-justified")
_WAITS = (
    "kind IN ('emergency', 'step-up', 'substitute') AND state IN ('active', 'ended')"
    " AND review IS NULL"
)
_DONE = "review IS NOT NULL"


def worklist(store: Store, *, done: bool = False) -> Sequence[AccessRequest]:
    """Return what waits for review, emergencies first; or what was reviewed, newest first."""
    with store.read_transaction() as connection:
        found = select(connection, _DONE if done else _WAITS)
    return found if done else sorted(found, key=lambda one: (one.kind != "emergency", one.asked_ms))


def review(context: RequestContext, identity: str, finding: str, note: str) -> str:
    """Put a finding on the books and return the patient it is about.

    Raises Forbidden for all but a steward, Conflict where it was reviewed already.
    """
    requester = context.access.requester
    if requester.role != "steward":
        raise Forbidden("Only a steward reviews.")
    audit_context = context.begin_audit("operation", "$review-access")
    with context.gateway.store.write_transaction() as connection:
        row = connection.execute(
            "UPDATE access_request SET review = ?, review_note = ?, reviewer = ?, reviewed_ms = ?"  # noqa: S608
            f" WHERE id = ? AND {_WAITS} RETURNING patient",
            (finding, note, requester.person, context.access.now_ms, identity),
        ).fetchone()
        if row is not None:
            recorder.record(connection, recorder.about(audit_context, row[0]))
        known = (
            row
            or connection.execute(
                "SELECT patient FROM access_request WHERE id = ? AND review IS NOT NULL",
                (identity,),
            ).fetchone()
        )
    if known is None:
        raise NotFound("There is no such access to review.")
    if row is None:
        raise Conflict("It was reviewed already.")
    return str(row[0])
