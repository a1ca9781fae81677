"""`$waiting`: how much waits for whoever keeps the platform in order, as numbers alone."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden
from ehr_gateway.access_requests.correction_requests import CORRECTION_KIND
from ehr_gateway.access_requests.duplicate_decisions import OPEN_DUPLICATES
from ehr_gateway.access_requests.merge_requests import WAITING_MERGE
from ehr_gateway.access_requests.quality_checks import count_failed_checks
from ehr_gateway.access_requests.quality_findings import count_open_findings
from ehr_gateway.access_requests.review import UNREVIEWED
from ehr_gateway.erasure.requests import ERASURE_KIND
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import APPROVER_ROLES
from ehr_gateway.operations._research_work import begin_work
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.tokens.suspensions import IN_FORCE
from ehr_gateway.transaction.identity_proposals import PROPOSAL_KIND

OPERATION = Operation(
    name="waiting",
    summary="Count what waits for a steward, an auditor or an administrator.",
    levels=("system",),
    affects_state=False,
    callers="a steward, an auditor, an administrator",
    required_scope=None,
)
_COUNTS = {
    "reviews": f"SELECT count(*) FROM access_request WHERE {UNREVIEWED}",  # noqa: S608
    "emergency-reviews": "SELECT count(*) FROM access_request"  # noqa: S608
    f" WHERE {UNREVIEWED} AND kind = 'emergency'",
    "proposals": "SELECT count(*) FROM access_request WHERE kind = :kind AND state = 'proposed'",
    "merges": f"SELECT count(*) FROM access_request WHERE {WAITING_MERGE}",  # noqa: S608
    "duplicates": OPEN_DUPLICATES,
    "corrections": "SELECT count(*) FROM access_request"
    " WHERE kind = :correction AND state = 'requested'",
    "erasures": "SELECT count(*) FROM access_request"
    " WHERE kind = :erasure AND state = 'proposed' AND expires_ms > :now",
    "unusual": "SELECT count(*) FROM audit_flag WHERE state = 'open'",
    "undelivered": "SELECT count(*) FROM notice_delivery WHERE state <> 'sent'",
    # Those whose endpoints take nothing, for now or for good.
    "failing-subscriptions": "SELECT count(*) FROM subscription"
    " WHERE state = 'error' OR (state = 'off' AND error IN ('gone', 'given-up'))",
    "suspensions": f"SELECT count(*) FROM suspension WHERE {IN_FORCE}",  # noqa: S608
    "accounts": "SELECT count(*) FROM account",
    "disabled-accounts": "SELECT count(*) FROM account WHERE disabled = 1",
}
_COUNTS_OF_ROLE = {
    "steward": (
        "reviews", "emergency-reviews", "proposals", "merges", "duplicates", "corrections",
        "erasures", "unusual", "undelivered", "failing-subscriptions", "suspensions",
    ),
    "auditor": ("unusual", "suspensions"),
    "administrator": ("erasures", "suspensions", "accounts", "disabled-accounts"),
}  # fmt: skip


def answer(call: OperationCall) -> Response:
    """Answer with a number for each list that the caller's role keeps; it names nobody."""
    requester = call.context.access.requester
    names = _COUNTS_OF_ROLE.get(requester.role)
    if names is None:
        raise Forbidden("Nothing waits for this role.")
    values = {
        "now": call.context.access.now_ms,
        "kind": PROPOSAL_KIND,
        "correction": CORRECTION_KIND,
        "erasure": ERASURE_KIND,
        "state": "open",
    }
    with call.context.gateway.store.read_transaction() as connection:
        counts = {
            name: int(connection.execute(_COUNTS[name], values).fetchone()[0]) for name in names
        }
        if requester.role == "steward":
            counts["findings"] = count_open_findings(connection, requester)
            counts["failed-checks"] = count_failed_checks(connection, call.context.access)
    projects = call.context.gateway.projects
    if projects is not None and requester.role in APPROVER_ROLES:
        counts["projects"] = sum(
            project.state == "submitted" and requester.person not in project.approvers
            for project in projects.list_projects()
        )
    if call.context.gateway.research_work is not None and requester.role in APPROVER_ROLES:
        counts["releases"] = _count_releases(call)
    models = call.context.gateway.models
    if models is not None and requester.role in APPROVER_ROLES:
        counts["models"] = models.count_waiting()
    call.record()
    return call.respond(*(parameter(name, count) for name, count in counts.items()))


def _count_releases(call: OperationCall) -> int:
    """Return how many requests for release wait for the caller: not approved by them yet."""
    work, person = begin_work(call.context, checkers=True, people=False)
    return sum(
        release.state == "waiting" and person.names.isdisjoint(release.checkers)
        for release in work.list_releases(person, "")
    )
