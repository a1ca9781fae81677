"""`$read-notices`: the reader has read their notices up to one of them."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.audit_log import recorder
from ehr_gateway.http.parameters import parameter
from ehr_gateway.notices.outbox import count_unread, mark_read
from ehr_gateway.operations._notice_reader import notice_reader
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="read-notices",
    summary="Say that one's notices were read, up to the newest that was shown.",
    levels=("system",),
    affects_state=True,
    callers="a patient, a carer",
    parameters=(
        Parameter("newest", "id", "The newest notice that was shown", 1),
        Parameter("oldest", "id", "The oldest that was shown; all older ones when nothing is said"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Mark them; one that came after the newest shown stays unread."""
    context, reader = call.context, notice_reader(call.context)
    sent = call.parse_body()
    newest, oldest = sent.text("newest"), sent.optional_text("oldest") or ""
    with context.gateway.store.write_transaction() as connection:
        mark_read(connection, reader, newest, context.access.now_ms, oldest)
        unread = count_unread(connection, reader)
        recorder.record_rows(connection, recorder.build_event_rows(call.audit_context, None))
    return call.respond(parameter("unread", unread))
