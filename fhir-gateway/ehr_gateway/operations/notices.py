"""`$notices`: the reader's own notices, and how they want them."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Unprocessable
from ehr_gateway.database import Connection, Row
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.parameters import parameter
from ehr_gateway.notices.messages import LANGUAGES, describe_notice, find_reader
from ehr_gateway.notices.outbox import count_unread, select_notices
from ehr_gateway.operations._notice_reader import notice_reader
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="notices",
    summary="List the reader's own notices, newest first, in a language.",
    levels=("system",),
    affects_state=False,
    callers="a patient, a carer",
    parameters=(
        Parameter("language", "code", "`en` (when nothing is said) or another of ours"),
        Parameter("before", "id", "Only older ones than this notice of the reader's"),
    ),
)
_MOST_NOTICES = 100


def answer(call: OperationCall) -> Response:
    """Answer with the preferences first, then a `notice` each."""
    context, asked = call.context, dict(call.query)
    reader, language = notice_reader(context), asked.get("language", "en")
    if language not in LANGUAGES:
        raise Unprocessable(f"The language is one of {', '.join(LANGUAGES)}.")
    with context.gateway.store.read_transaction() as connection:
        rows = select_notices(connection, reader, asked.get("before", ""), _MOST_NOTICES + 1)
        has_older, rows = len(rows) > _MOST_NOTICES, rows[:_MOST_NOTICES]
        notices = [_notice_parameter(connection, context, row, language) for row in rows]
        chosen = find_reader(connection, reader)
        unread = count_unread(connection, reader)
    call.record(context.access.requester.patient)
    return call.respond(
        parameter("each-access", chosen.each_access),
        parameter("unread", unread),
        parameter("older", has_older),
        *([parameter("email", chosen.email)] if chosen.email else []),
        *([parameter("language", chosen.language)] if chosen.language else []),
        *notices,
    )


def _notice_parameter(
    connection: Connection, context: RequestContext, row: Row, language: str
) -> dict[str, Any]:
    parts = [
        parameter("id", row["id"]),
        parameter("kind", row["kind"]),
        parameter("patient", row["patient"]),
        parameter(
            "text", describe_notice(connection, row, language, secret=context.gateway.form_secret)
        ),
        {"name": "at", "valueInstant": format_instant(row["made_ms"])},
        parameter("read", row["read_ms"] is not None),
    ]
    if row["request"]:
        parts.append(parameter("request", row["request"]))
    return {"name": "notice", "part": parts}
