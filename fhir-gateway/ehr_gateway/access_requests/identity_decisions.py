"""A steward's decision on a proposed change of a person's identity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ehr_fhir.errors import Conflict, Forbidden, NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.access_requests.record_changes import tell_patients
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    find_request,
    select_in_order,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.transaction.identity_proposals import PROPOSAL_KIND
from ehr_privacy.consent.acts import identity_elements

__all__ = ["IdentityProposal", "decide_proposal", "list_proposals"]

Outcome = Literal["approved", "refused", "outdated"]
_STATES = {"approved": "active", "refused": "refused", "outdated": "expired"}


@dataclass(frozen=True)
class IdentityProposal:
    """A proposed next version of a Patient beside the current one."""

    request: AccessRequest
    # Whether the version it was written on is still the current one.
    is_current: bool
    # Element -> what it is now, and what is proposed; only those that differ.
    changes: Mapping[str, tuple[object, object]]


def list_proposals(connection: Connection, context: RequestContext) -> Sequence[IdentityProposal]:
    """Return the proposals that wait for a decision, newest first; of many the oldest ones."""
    _require_steward(context)
    requests = select_in_order(
        connection, "kind = :kind AND state = 'proposed'", {"kind": PROPOSAL_KIND}, "oldest"
    )
    return [_compare(connection, request) for request in reversed(requests)]


def decide_proposal(
    context: RequestContext, identity: str, *, approve: bool, reason: str
) -> Outcome:
    """Store the proposed version as the next one, or refuse it.

    Raises NotFound for a proposal that is not there or was decided, and Conflict for one that is
    outdated: it was written on a version that is not the current one any more.
    """
    _require_steward(context)
    with step_transaction(context, "$decide-identity", "system/Patient.u") as step:
        request = find_request(step.connection, identity, PROPOSAL_KIND)
        if request is None or request.state != "proposed":
            raise NotFound("There is no such proposal.")
        outcome: Outcome = "refused"
        if approve:
            outcome = "approved" if _is_current(step.connection, request) else "outdated"
        if outcome == "approved":
            step.update(request.details["resource"])
        _close(step, context, request, outcome, reason)
    if outcome == "outdated":
        raise Conflict("The record was changed since: let it be proposed again.")
    return outcome


def _require_steward(context: RequestContext) -> None:
    if context.access.requester.role != "steward":
        raise Forbidden("Proposals are for a steward to decide.")


def _close(
    step: StepTransaction,
    context: RequestContext,
    request: AccessRequest,
    outcome: Outcome,
    reason: str,
) -> None:
    requester, now = context.access.requester, context.access.now_ms
    decide_request(step.connection, request.id, _STATES[outcome], by=requester.person, now_ms=now)
    # What was proposed is in the record by now, or nowhere: no copy of it stays.
    step.connection.execute(
        "UPDATE access_request SET details = ?, review_note = ? WHERE id = ?",
        (json.dumps({"base": request.details["base"]}), reason, request.id),
    )
    step.patients.append(request.patient)
    step.entities.append(f"Patient/{request.patient}")
    if outcome == "approved":
        tell_patients(
            step.connection,
            [request.patient],
            kind="identity-changed",
            cause=f"identity:{request.id}",
            person=request.display,
            organization=request.organization,
            at_ms=now,
        )


def _current(connection: Connection, patient: str) -> tuple[int, Mapping[str, Any]] | None:
    row = connection.execute(
        "SELECT version, body FROM resource WHERE type = 'Patient' AND id = ? AND current = 1"
        " AND deleted = 0",
        (patient,),
    ).fetchone()
    return None if row is None else (int(row["version"]), parse(row["body"]))


def _is_current(connection: Connection, request: AccessRequest) -> bool:
    current = _current(connection, request.patient)
    return current is not None and current[0] == request.details["base"]


def _compare(connection: Connection, request: AccessRequest) -> IdentityProposal:
    current = _current(connection, request.patient)
    number, resource = current or (0, {})
    now = identity_elements(resource)
    proposed = identity_elements(request.details["resource"])
    changes = {
        name: (now.get(name), proposed.get(name))
        for name in (*now, *(name for name in proposed if name not in now))
        if now.get(name) != proposed.get(name)
    }
    return IdentityProposal(request, number == request.details["base"], changes)
