"""The second steward's decision on a merge of two Patients, or on its undoing: one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Conflict, NotFound
from ehr_fhir.json_text import parse
from ehr_gateway.access_requests.merge_changes import unmerge_source, unmerge_target
from ehr_gateway.access_requests.merge_requests import (
    MERGE,
    WAITING_MERGE,
    MergeRequest,
    name_patients,
    plan_merge,
    version_of,
)
from ehr_gateway.access_requests.record_changes import tell_patients
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    decide_request,
    find_request,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    read_patient,
    require_other_person,
    require_role,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext

__all__ = ["Outcome", "decide_merge"]

Json = Mapping[str, Any]
Outcome = Literal["merged", "unmerged", "refused", "outdated"]
_SCOPES = "system/Patient.u system/Provenance.c"
_LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def decide_merge(context: RequestContext, identity: str, *, approve: bool, reason: str) -> Outcome:
    """Merge or take apart, or leave both as they are: one transaction.

    Raises NotFound for a proposal that is not there or was decided, Forbidden for whoever proposed
    it, and Conflict for one that is outdated: one of the two was changed since.
    """
    require_role(context, frozenset({"steward"}))
    now = context.access.now_ms
    with step_transaction(context, "$decide-merge", _SCOPES) as step:
        waiting = select_requests(
            step.connection, f"id = :id AND {WAITING_MERGE}", id=identity, now=now
        )
        if not waiting:
            raise NotFound("There is no such proposal.")
        request = waiting[0]
        require_other_person(
            step.connection, context, request.person, "Another steward has to decide it."
        )
        outcome: Outcome = "refused"
        details = {
            name: value for name, value in request.details.items() if name != "result"
        }  # what was proposed is in the record by now, or nowhere
        if approve:
            outcome, written = _carry_out(step, context, request)
            details |= written
        state = {"refused": "refused", "outdated": "expired"}.get(outcome, "active")
        decide_request(
            step.connection, identity, state, by=context.access.requester.person, now_ms=now
        )
        step.connection.execute(
            "UPDATE access_request SET details = ?, review_note = ?, reviewer = ? WHERE id = ?",
            (json.dumps(details), reason, context.caller.subject.display, identity),
        )
        name_patients(step, request.patient, str(request.details["target"]))
    if outcome == "outdated":
        raise Conflict("One of the two Patients was changed since: let it be proposed again.")
    return outcome


def _carry_out(
    step: StepTransaction, context: RequestContext, request: AccessRequest
) -> tuple[Outcome, dict[str, Any]]:
    """Write both Patients and say so in Provenance; return what becomes of the request."""
    connection, details = step.connection, request.details
    source_id, target_id = request.patient, str(details["target"])
    found = MergeRequest(
        request, read_patient(connection, source_id), read_patient(connection, target_id)
    )
    if not found.is_current:
        return "outdated", {}
    kept: tuple[str, ...] = ()
    if request.kind == MERGE:
        plan = plan_merge(connection, context, source_id, target_id, details.get("result"))
        next_source, next_target = plan.next_source, plan.next_target
    else:
        merge = find_request(connection, str(details["merge"]), MERGE)
        if merge is None or merge.state != "active":
            return "outdated", {}
        (first, _), (before, after) = merge.details["written"]
        next_source = unmerge_source(
            found.source, _read_version(connection, source_id, first), target_id
        )
        unmerged = unmerge_target(
            found.target,
            _read_version(connection, target_id, before),
            _read_version(connection, target_id, after),
            source_id,
        )
        next_target, kept = unmerged.resource, unmerged.kept
        connection.execute(
            "UPDATE access_request SET state = 'ended', until_ms = ? WHERE id = ?",
            (context.access.now_ms, merge.id),
        )
    for resource in (next_source, next_target):
        step.update(dict(resource))
    written = []
    for before, patient in ((found.source, source_id), (found.target, target_id)):
        after = read_patient(step.connection, patient)
        written.append([version_of(before), version_of(after)])
        step.create(_build_provenance(context, request, f"Patient/{patient}"))
    _tell(step, context, request)
    outcome: Outcome = "merged" if request.kind == MERGE else "unmerged"
    return outcome, {"written": written, **({"kept": list(kept)} if kept else {})}


def _build_provenance(
    context: RequestContext, request: AccessRequest, patient: str
) -> dict[str, Any]:
    """Return the Provenance of one of the two Patients: it names no other account.

    Whoever may see one account may not see the other.
    """
    people = (("enterer", request.display), ("verifier", context.caller.subject.display))
    return {
        "resourceType": "Provenance",
        "target": [{"reference": patient}],
        "recorded": format_instant(context.access.now_ms),
        "activity": {"coding": [{"system": _LIFECYCLE, "code": request.kind}]},
        "agent": [
            {
                "type": {"coding": [{"system": _PARTICIPANT, "code": code}]},
                "who": {"display": display},
            }
            for code, display in people
        ],
    }


def _tell(step: StepTransaction, context: RequestContext, request: AccessRequest) -> None:
    requester = context.access.requester
    tell_patients(
        step.connection,
        sorted({request.patient, str(request.details["target"])}),
        kind="accounts-merged" if request.kind == MERGE else "accounts-unmerged",
        cause=f"{request.kind}:{request.id}",
        person=requester.person,
        organization=requester.organization,
        at_ms=context.access.now_ms,
    )


def _read_version(connection: Connection, patient: str, version: int) -> Json:
    row = connection.execute(
        "SELECT body FROM resource WHERE type = 'Patient' AND id = ? AND version = ?",
        (patient, version),
    ).fetchone()
    return parse(row["body"]) if row is not None and row["body"] else {}
