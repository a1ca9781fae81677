"""The steward's review of emergencies, step-ups and substitutes: justified or not, with a note."""

from __future__ import annotations

from collections.abc import Sequence

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    select_in_order,
    select_requests,
)
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.store.store import Store

__all__ = ["FINDINGS", "UNREVIEWED", "list_reviews", "review_access"]

FINDINGS = ("justified", "not-justified")
# The condition on `access_request` of what waits.
UNREVIEWED = (
    "kind IN ('emergency', 'step-up', 'substitute') AND state IN ('active', 'ended')"
    " AND review IS NULL"
)
_REVIEWED = "review IS NOT NULL"


def list_reviews(store: Store, *, done: bool = False) -> Sequence[AccessRequest]:
    """Return accesses to review, emergencies first; with `done` the reviewed ones, newest first."""
    with store.read_transaction() as connection:
        if done:
            return select_requests(connection, _REVIEWED)
        return select_in_order(connection, UNREVIEWED, {}, "emergencies")


def review_access(context: RequestContext, identity: str, finding: str, note: str) -> str:
    """Record the finding of a review; return the patient it is about.

    Raises Forbidden unless the caller is a steward, Conflict if it was reviewed already.
    """
    requester = context.access.requester
    if requester.role != "steward":
        raise Forbidden("Only a steward reviews.")
    audit_context = context.begin_audit("operation", "$review-access")
    with context.gateway.store.write_transaction() as connection:
        row = connection.execute(
            "UPDATE access_request SET review = ?, review_note = ?, reviewer = ?, reviewed_ms = ?"  # noqa: S608
            f" WHERE id = ? AND {UNREVIEWED} RETURNING patient",
            (finding, note, requester.person, context.access.now_ms, identity),
        ).fetchone()
        if row is not None:
            recorder.record_rows(connection, recorder.build_event_rows(audit_context, row[0]))
        reviewed = (
            row
            or connection.execute(
                "SELECT patient FROM access_request WHERE id = ? AND review IS NOT NULL",
                (identity,),
            ).fetchone()
        )
    if reviewed is None:
        raise NotFound("There is no such access to review.")
    if row is None:
        raise Conflict("It was reviewed already.")
    return str(row[0])
