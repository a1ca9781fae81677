"""`$record-lineage`: the lake puts its refreshes on record, as leaves of the audit log."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.lineage import record_lineage
from ehr_gateway.http.authentication import require_feed_scope
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_privacy.audit import parse_record

# Chosen: what a lake could not tell for a while is told in several requests.
_MOST_RECORDS = 50
OPERATION = Operation(
    name="record-lineage",
    summary="Put refreshes of the lake on record: feed positions, digests of rules and of tables.",
    levels=("system",),
    affects_state=True,
    callers="the lake",
    parameters=(
        Parameter(
            "record",
            "string",
            "A refresh as JSON: see [lineage](../../explanation/lineage.md). One that is on record "
            "already adds nothing",
            1,
            "*",
        ),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Append the refreshes that are new; answer with how many those are."""
    context = call.context
    require_feed_scope(context, "Lineage needs")
    records = [parse_record(text) for text in call.parse_body().texts("record", _MOST_RECORDS)]
    if not records:
        raise Invalid("The parameter record is missing.", expression="Parameters.parameter")
    with context.gateway.store.write_transaction() as connection:
        count = record_lineage(connection, call.audit_context, records)
    if not count:
        # The request is on record all the same.
        call.record()
    return call.respond(parameter("recorded", count))
