"""Merges of Patients as parameters: what a steward sees of the two, and of what waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.merge_changes import changed_elements
from ehr_gateway.access_requests.merge_requests import MergePlan, MergeRequest
from ehr_gateway.access_requests.request_rows import AccessRequest
from ehr_gateway.http.parameters import parameter

__all__ = ["DIFFERENCES", "describe_patient", "merge_outcome", "merge_parts", "merge_task"]

Json = Mapping[str, Any]
# In what two Patients contradict each other, in words.
DIFFERENCES = {
    "number": "The numbers of their identity documents differ.",
    "birth-date": "Their birth dates differ.",
    "sex": "Their sexes differ.",
    "death": "One of the two is said to have died.",
}
_SHOWN = frozenset({"name", "birthDate", "gender", "deceasedBoolean", "deceasedDateTime"})
_TASK_STATUS = {
    "proposed": "requested",
    "active": "completed",
    "ended": "completed",
    "refused": "rejected",
    "expired": "failed",
}


def describe_patient(name: str, identity: str, patient: Json) -> dict[str, Any]:
    """Return who a Patient is, as far as a steward needs it: name, birth date, sex, in use or not.

    Numbers, telephones and addresses are left out: how they agree is said without them.
    """
    parts: list[dict[str, Any]] = [
        {"name": "patient", "valueReference": {"reference": f"Patient/{identity}"}}
    ]
    parts += [
        {"name": "name", "valueHumanName": human_name} for human_name in patient.get("name", ())
    ]
    for part, element in (("born", "birthDate"), ("gender", "gender")):
        if element in patient:
            parts.append(parameter(part, patient[element]))
    if patient:
        parts.append(parameter("active", patient.get("active") is not False))
    return {"name": name, "part": parts}


def merge_outcome(plan: MergePlan, source: str, *, is_preview: bool) -> dict[str, Any]:
    """Return what a merge would change, and what speaks against it, as an OperationOutcome."""
    said = (
        "Nothing is changed." if is_preview else "It is changed when another steward approves it."
    )
    changed = changed_elements(plan.target, plan.next_target)
    issues = [
        _issue("information", said),
        _issue(
            "information",
            "The source is linked to the target (replaced-by) and is not active any more; records"
            " stay where they are. Whatever closes the records of one closes those of both.",
        ),
        *(_issue("warning", DIFFERENCES[difference]) for difference in plan.differences),
    ]
    if changed:
        issues.append(_issue("information", f"Of the target changes: {', '.join(changed)}."))
    issues += [
        _issue("information", f"{'source' if account == source else 'target'}: {number} {kind}")
        for (account, kind), number in plan.counts.items()
    ]
    return {"resourceType": "OperationOutcome", "issue": issues}


def merge_task(request: AccessRequest) -> dict[str, Any]:
    """Return a proposal as the Task that another steward does."""
    return {
        "resourceType": "Task",
        "id": request.id,
        "status": _TASK_STATUS[request.state],
        "intent": "proposal",
        "code": {"text": request.kind},
        "focus": {"reference": f"Patient/{request.patient}"},
        "authoredOn": format_instant(request.asked_ms),
    }


def merge_parts(merge: MergeRequest, now_ms: int) -> list[dict[str, Any]]:
    """Return one merge, or undoing of one, with both Patients as they are now."""
    request = merge.request
    is_expired = request.state == "proposed" and request.expires_ms <= now_ms
    words = {
        "id": request.id,
        "kind": request.kind,
        "state": "expired" if is_expired else request.state,
        "asked-by": request.person,
        "display": request.display,
        "reason": request.reason,
        "decided-display": request.reviewer,
        "decision-reason": request.review_note,
    }
    parts = [parameter(name, word) for name, word in words.items() if word]
    instants = {"asked": request.asked_ms, "decided": request.decided_ms}
    parts += [
        {"name": name, "valueInstant": format_instant(at)} for name, at in instants.items() if at
    ]
    if request.state == "proposed":
        parts.append(parameter("current", merge.is_current))
    parts += [_describe_change(name, pair) for name, pair in merge.target_changes.items()]
    parts += _codes("difference", merge.differences)
    parts += _codes("kept", request.details.get("kept", ()))
    return [
        *parts,
        describe_patient("source", request.patient, merge.source),
        describe_patient("target", merge.target_id, merge.target),
    ]


def _describe_change(element: str, pair: tuple[object, object]) -> dict[str, Any]:
    """Return a change; of what stewards do not see of a Patient, the element alone."""
    values = [("now", pair[0]), ("proposed", pair[1])] if element in _SHOWN else []
    return {
        "name": "change",
        "part": [
            {"name": "element", "valueCode": element},
            *(
                parameter(
                    name,
                    value if isinstance(value, str) else orjson.dumps(value, default=str).decode(),
                )
                for name, value in values
                if value is not None
            ),
        ],
    }


def _codes(name: str, codes: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name, "valueCode": code} for code in codes]


def _issue(severity: str, text: str) -> dict[str, Any]:
    return {"severity": severity, "code": "informational", "diagnostics": text}
