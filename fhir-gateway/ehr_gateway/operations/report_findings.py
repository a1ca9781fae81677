"""`$report-findings`: the lake tells which versions break a rule of quality."""

from __future__ import annotations

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.access_requests.quality_findings import store_findings
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import require_feed_scope
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="report-findings",
    summary="Tell the gateway which versions break a rule of quality, and in which elements.",
    levels=("system",),
    affects_state=True,
    callers="the lake",
    parameters=(
        Parameter(
            "findings",
            "string",
            "A JSON list of objects with `type`, `id`, `version`, `severity` (`error` or "
            "`warning`), `rules` and `elements`; one without rules has no fault any more",
            1,
        ),
        Parameter("all", "boolean", "Whether there are no others than these"),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Store what was found; answer with how many versions have a fault."""
    context = call.context
    require_feed_scope(context, "Findings need")
    sent = call.parse_body()
    try:
        findings = orjson.loads(sent.text("findings"))
    except orjson.JSONDecodeError as error:
        raise Invalid("The findings are no JSON.", expression="findings") from error
    if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
        raise Invalid("The findings are a JSON list of objects.", expression="findings")
    is_all = sent.optional_boolean("all")
    with context.gateway.store.write_transaction() as connection:
        count = store_findings(connection, findings, is_all=is_all, now_ms=context.access.now_ms)
        recorder.record_rows(connection, recorder.build_event_rows(call.audit_context, None))
    return call.respond(parameter("stored", count))
