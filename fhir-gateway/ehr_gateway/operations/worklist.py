"""`$worklist`: the steward's worklist of unusual access, as a searchset of Tasks."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.anomaly_rules import FLAGS
from ehr_gateway.audit_log.read_policy import ROLES_READING_ALL
from ehr_gateway.audit_log.worklist import find_items
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.operations._worklist_tasks import TASK_STATUS, require_role, task_of
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="worklist",
    summary="List what the monitor of unusual access flagged, newest first.",
    levels=("type",),
    resource_types=("AuditEvent",),
    returns="Bundle",
    affects_state=False,
    callers="a steward, an auditor",
    parameters=(
        Parameter("status", "code", "`open` or `settled`"),
        Parameter("rule", "code", "The rule that flagged it"),
        Parameter("_id", "id", "One item"),
        Parameter("_count", "integer", "Items of a page: 50, at most 200"),
        Parameter("_cursor", "string", "Where the page begins, of a link `next`"),
    ),
    required_scope=None,
    audit_code="audit-worklist",
    audit_query="AuditEvent/$worklist",
)
_DEFAULT_COUNT, _MOST_COUNT = 50, 200


def answer(call: OperationCall) -> Response:
    """Answer with one page."""
    require_role(call.context, ROLES_READING_ALL)
    criteria = _parse_criteria(call.query)
    count = criteria["count"]
    with call.context.gateway.store.read_transaction() as connection:
        # One more than the page holds tells whether there is a next page.
        items = find_items(connection, **{**criteria, "count": count + 1})
    shown, base = items[:count], call.context.gateway.settings.fhir_base
    call.record(entities=[f"Task/{item.id}" for item in shown])
    address = f"{base}/AuditEvent/$worklist"
    links = [("self", build_page_url(address, call.query))]
    if len(items) > len(shown):
        rest = [pair for pair in call.query if pair[0] != "_cursor"]
        links.append(("next", build_page_url(address, [*rest, ("_cursor", shown[-1].id)])))
    entries = (
        build_entry(f"urn:uuid:{item.id}", orjson.dumps(task_of(item)), mode="match")
        for item in shown
    )
    body = build_bundle("searchset", entries, total=None, links=links)
    return fhir_response(body, pretty=call.preferences.pretty)


def _parse_criteria(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    criteria: dict[str, Any] = {"count": _DEFAULT_COUNT}
    for name, value in pairs:
        if name == "status" and value in TASK_STATUS:
            criteria["state"] = value
        elif name == "rule" and value in FLAGS:
            criteria["rule"] = value
        elif name == "_id":
            criteria["identity"] = value
        elif name == "_cursor":
            criteria["before"] = value
        elif name == "_count" and value.isascii() and value.isdigit() and len(value) < 9:
            criteria["count"] = max(1, min(int(value), _MOST_COUNT))
        else:
            raise Invalid(
                f"$worklist takes status (open or settled), rule ({', '.join(FLAGS)}), _id and "
                "_count."
            )
    return criteria
