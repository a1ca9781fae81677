"""Merges of two Patients of one person, and their undoing: one steward proposes, another decides.

A merge links the two accounts and moves nothing, so that it can be taken back: `merge_changes` says
what the Patients become, `store.merging` closes in both what either closed. What waits is a row of
`access_request`, whose patient is the one that is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Conflict, NotFound, Unprocessable
from ehr_gateway.access_requests.merge_changes import (
    Difference,
    changed_elements,
    has_same_links,
    list_differences,
    merge_source,
    merge_target,
)
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    find_request,
    insert_request,
    select_in_order,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    read_patient,
    require_role,
)
from ehr_gateway.access_requests.step_transaction import StepTransaction, step_transaction
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.store.merging import is_replaced, linked_accounts

__all__ = [
    "MERGE",
    "UNMERGE",
    "WAITING_MERGE",
    "MergePlan",
    "MergeRequest",
    "list_merges",
    "name_patients",
    "plan_merge",
    "propose_merge",
    "propose_unmerge",
    "version_of",
]

Json = Mapping[str, Any]
# The kinds of such rows in `access_request`.
MERGE, UNMERGE = "merge", "unmerge"
# The condition on `access_request` of what waits.
WAITING_MERGE = f"kind IN ('{MERGE}', '{UNMERGE}') AND state = 'proposed' AND expires_ms > :now"
_STEWARD = frozenset({"steward"})
# Chosen: a month, as for an erasure.
_EXPIRES_MS = 30 * 86_400_000
_SOURCE, _TARGET = "source-patient", "target-patient"


@dataclass(frozen=True)
class MergePlan:
    """What a merge would change; nothing is written yet."""

    source: Json
    target: Json
    # The two as they would be.
    next_source: Json
    next_target: Json
    differences: tuple[Difference, ...]
    # (account, type) -> how many records of it the caller may see.
    counts: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class MergeRequest:
    """A merge or its undoing, with the two Patients as they are now; empty when one is gone."""

    request: AccessRequest
    source: Json
    target: Json

    @property
    def target_id(self) -> str:
        """The id of the Patient that stays."""
        return str(self.request.details["target"])

    @property
    def is_current(self) -> bool:
        """Whether both Patients are still as they were when it was proposed."""
        details = self.request.details
        return bool([version_of(self.source), version_of(self.target)] == details["versions"])

    @property
    def target_changes(self) -> Mapping[str, tuple[object, object]]:
        """Element of the Patient that stays -> what it is and is to be, while that waits."""
        result = self.request.details.get("result")
        if result is None or not self.target:
            return {}
        return changed_elements(
            self.target, merge_target(self.target, self.request.patient, result)
        )

    @property
    def differences(self) -> Sequence[Difference]:
        """In what the two contradict each other, while a merge of them waits."""
        waits = self.request.kind == MERGE and self.request.state == "proposed"
        return list_differences(self.source, self.target) if waits else ()


def plan_merge(
    connection: Connection,
    context: RequestContext,
    source_id: str,
    target_id: str,
    result: Json | None,
) -> MergePlan:
    """Return what a merge would change.

    Raises NotFound for a Patient who is not there, Unprocessable for what cannot be meant, and
    Conflict for what has to be settled first.
    """
    require_role(context, _STEWARD)
    if source_id == target_id:
        raise Unprocessable("A Patient cannot be merged with itself.", expression=_TARGET)
    source = _require_patient(connection, source_id, _SOURCE)
    target = _require_patient(connection, target_id, _TARGET)
    for patient, name in ((source, _SOURCE), (target, _TARGET)):
        if is_replaced(patient):
            raise Conflict(
                "This Patient was merged into another one, which is the one to merge now.",
                expression=name,
            )
    if target_id in linked_accounts(connection, source_id):
        raise Conflict("The two are linked as one person's already.", expression=_TARGET)
    _require_no_erasure(connection, (source_id, target_id), context.access.now_ms)
    if result is not None and result.get("id") != target_id:
        raise Unprocessable(
            "The result has to have the id of the Patient that stays.", expression="result-patient"
        )
    next_target = merge_target(target, source_id, result)
    if result is not None and not has_same_links(result, merge_target(target, source_id)):
        raise Unprocessable(
            "The result has to have the links of the Patient that stays, and one (replaces) to the"
            " Patient that is replaced.",
            expression="result-patient.link",
        )
    differences = list_differences(source, target)
    if "death" in differences and not (
        result and {"deceasedBoolean", "deceasedDateTime"} & {*result}
    ):
        raise Conflict(
            "One of the two is said to have died: settle that first, or say in result-patient"
            " (deceased) what is so.",
            expression="result-patient",
        )
    return MergePlan(
        source,
        target,
        merge_source(source, target_id),
        next_target,
        tuple(differences),
        _count_records(connection, context, (source_id, target_id)),
    )


def propose_merge(
    context: RequestContext,
    source_id: str,
    target_id: str,
    result: Json | None,
    reason: str,
) -> tuple[AccessRequest, MergePlan]:
    """Keep a merge as a proposal that another steward decides."""
    with step_transaction(context, "$merge") as step:
        plan = plan_merge(step.connection, context, source_id, target_id, result)
        _require_nothing_waits(step.connection, (source_id, target_id), context.access.now_ms)
        details = {
            "versions": [version_of(plan.source), version_of(plan.target)],
            **({"result": result} if result is not None else {}),
        }
        request = _insert(step, context, MERGE, source_id, target_id, reason, details)
    return request, plan


def propose_unmerge(context: RequestContext, merge: str, reason: str) -> AccessRequest:
    """Keep the undoing of a merge as a proposal that another steward decides.

    Raises NotFound for a merge that is not there, or is not in force.
    """
    require_role(context, _STEWARD)
    with step_transaction(context, "$unmerge") as step:
        merged = find_request(step.connection, merge, MERGE)
        if merged is None or merged.state != "active":
            raise NotFound("There is no such merge in force.")
        source_id, target_id = merged.patient, str(merged.details["target"])
        source = _require_patient(step.connection, source_id, "merge")
        target = _require_patient(step.connection, target_id, "merge")
        now = context.access.now_ms
        _require_nothing_waits(step.connection, (source_id, target_id), now)
        details = {"versions": [version_of(source), version_of(target)], "merge": merge}
        return _insert(step, context, UNMERGE, source_id, target_id, reason, details)


def list_merges(connection: Connection, context: RequestContext) -> Sequence[MergeRequest]:
    """Return merges and their undoings: what waits, the oldest first, then the newest decided."""
    require_role(context, _STEWARD)
    now = {"now": context.access.now_ms}
    waiting = select_in_order(connection, WAITING_MERGE, now, "oldest")
    decided = select_requests(connection, "kind IN ('merge', 'unmerge') AND state <> 'proposed'")
    return [
        MergeRequest(
            request,
            read_patient(connection, request.patient),
            read_patient(connection, str(request.details["target"])),
        )
        for request in (*waiting, *decided)
    ]


def _insert(
    step: StepTransaction,
    context: RequestContext,
    kind: str,
    source_id: str,
    target_id: str,
    reason: str,
    details: Mapping[str, Any],
) -> AccessRequest:
    requester, now = context.access.requester, context.access.now_ms
    if source_id in reason or target_id in reason:
        raise Unprocessable("The reason need not name the Patients by id.", expression="reason")
    request = AccessRequest(
        id=new_id(),
        kind=kind,
        patient=source_id,
        person=requester.person,
        display=context.caller.subject.display,
        organization=requester.organization,
        profession=None,
        reason=reason,
        # By `record` an erasure of the Patient that stays finds it.
        details={"record": f"Patient/{target_id}", "target": target_id, **details},
        asked_ms=now,
        expires_ms=now + _EXPIRES_MS,
    )
    insert_request(step.connection, request)
    name_patients(step, source_id, target_id)
    return request


def name_patients(step: StepTransaction, *patients: str) -> None:
    """Put patients on record: each patient finds who looked at or changed their account."""
    step.patients += patients
    step.entities += [f"Patient/{patient}" for patient in patients]


def _require_patient(connection: Connection, patient: str, name: str) -> Json:
    """Return a Patient; one that was deleted or erased is as absent as any."""
    found = read_patient(connection, patient)
    if not found:
        raise NotFound("There is no Patient with this id.", expression=name)
    return found


def _require_no_erasure(connection: Connection, patients: Sequence[str], now_ms: int) -> None:
    for patient in patients:
        if select_requests(
            connection,
            "kind = 'erasure' AND state = 'proposed' AND patient = :patient AND expires_ms > :now",
            patient=patient,
            now=now_ms,
        ):
            raise Conflict("The erasure of one of the two is asked for: decide that first.")


def _require_nothing_waits(connection: Connection, patients: Sequence[str], now_ms: int) -> None:
    for request in select_in_order(
        connection, WAITING_MERGE, {"now": now_ms}, "oldest", most=10_000
    ):
        if not {request.patient, request.details["target"]}.isdisjoint(patients):
            raise Conflict("A merge of one of the two waits for its decision already.")


def _count_records(
    connection: Connection, context: RequestContext, patients: Sequence[str]
) -> Mapping[tuple[str, str], int]:
    """Count the records of each account by type, of those that the caller may see."""
    visible = context.access.read_predicate
    counts: dict[tuple[str, str], int] = {}
    for patient in patients:
        rows = connection.execute(
            "SELECT r.type, count(*) AS number FROM record_patient p"  # noqa: S608
            " JOIN resource r ON r.pk = p.pk WHERE p.patient = :merging AND r.current = 1"
            f" AND r.deleted = 0 AND ({visible.sql}) GROUP BY r.type ORDER BY r.type",
            {"merging": patient, **visible.params},
        )
        counts |= {(patient, str(row["type"])): int(row["number"]) for row in rows.fetchall()}
    return counts


def version_of(patient: Json) -> int:
    """Return the version of a stored Patient; 0 for one that is gone."""
    return int(patient.get("meta", {}).get("versionId", 0))
