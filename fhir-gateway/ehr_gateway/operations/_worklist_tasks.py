"""Items of the steward's worklist of unusual access as FHIR Tasks."""

from __future__ import annotations

from typing import Any

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.audit_log.worklist import WorkItem
from ehr_gateway.http.authentication import RequestContext

__all__ = ["TASK_STATUS", "require_role", "task_of"]

_CODE_SYSTEMS = f"{JURISDICTION.fhir_base}/CodeSystem"
# The state of an item as Task.status.
TASK_STATUS = {"open": "requested", "settled": "completed"}


def require_role(context: RequestContext, roles: frozenset[str]) -> None:
    """Refuse who has none of the roles."""
    if context.access.requester.role not in roles:
        raise Forbidden("The worklist of unusual access is the steward's.")


def task_of(item: WorkItem) -> dict[str, Any]:
    """Return an item as a Task; a settled one with the verdict and the steward's note."""
    task: dict[str, Any] = {
        "resourceType": "Task",
        "id": item.id,
        "status": TASK_STATUS[item.state],
        "intent": "proposal",
        "code": {"coding": [{"system": f"{_CODE_SYSTEMS}/audit-flag", "code": item.rule}]},
        "authoredOn": format_instant(item.found_ms),
        "executionPeriod": {
            "start": format_instant(item.since_ms),
            "end": format_instant(item.until_ms),
        },
        "focus": {
            "identifier": {"system": f"{JURISDICTION.base}/login", "value": item.login},
            "display": item.display,
        },
        "input": [{"type": {"text": "number"}, "valueInteger": item.number}],
    }
    if item.patient:
        task["for"] = {"reference": f"Patient/{item.patient}"}
    if item.organization:
        task["owner"] = {"reference": f"Organization/{item.organization}"}
    if item.state == "settled":
        task |= _settlement(item)
    return task


def _settlement(item: WorkItem) -> dict[str, Any]:
    settled_at = format_instant(item.settled_ms or 0)
    verdict = {"system": f"{_CODE_SYSTEMS}/audit-verdict", "code": item.verdict}
    note = {"authorString": item.settled_by, "time": settled_at, "text": item.note}
    return {"businessStatus": {"coding": [verdict]}, "lastModified": settled_at, "note": [note]}
