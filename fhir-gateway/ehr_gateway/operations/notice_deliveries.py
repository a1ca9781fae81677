"""`$notice-deliveries`: how notices leave, for the steward."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden
from ehr_gateway.database import Row
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="notice-deliveries",
    summary="Show how the notices leave: how many in each state, and those that did not.",
    levels=("system",),
    affects_state=False,
    callers="a steward",
)
_MOST_UNSENT = 100


def answer(call: OperationCall) -> Response:
    """Answer with a `count` for each channel and state, then a `delivery` for each unsent one."""
    context = call.context
    if context.access.requester.role != "steward":
        raise Forbidden("Only a steward sees the deliveries.")
    with context.gateway.store.read_transaction() as connection:
        counts = connection.execute(
            "SELECT channel, state, COUNT(*) AS number FROM notice_delivery"
            " GROUP BY channel, state ORDER BY channel, state"
        ).fetchall()
        unsent = connection.execute(
            "SELECT n.id, n.kind, n.made_ms, d.channel, d.state, d.tries, d.fault"
            " FROM notice_delivery d JOIN notice n ON n.id = d.notice"
            " WHERE d.state <> 'sent' ORDER BY n.made_ms DESC LIMIT ?",
            (_MOST_UNSENT,),
        ).fetchall()
    call.record()
    return call.respond(
        *(
            {"name": "count", "part": [parameter(name, row[name]) for name in row.keys()]}
            for row in counts
        ),
        *({"name": "delivery", "part": _delivery_parts(row)} for row in unsent),
    )


def _delivery_parts(row: Row) -> list[dict[str, Any]]:
    words = [parameter(name, row[name]) for name in ("id", "kind", "channel", "state", "tries")]
    fault = [parameter("fault", row["fault"])] if row["fault"] else []
    return [*words, *fault, {"name": "at", "valueInstant": format_instant(row["made_ms"])}]
