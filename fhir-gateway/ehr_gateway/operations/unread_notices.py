"""`$unread-notices`: how many of the reader's notices are new."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.http.parameters import parameter
from ehr_gateway.notices.outbox import count_unread
from ehr_gateway.operations._notice_reader import notice_reader
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="unread-notices",
    summary="Count the reader's own notices that they have not read.",
    levels=("system",),
    affects_state=False,
    callers="a patient, a carer",
)


def answer(call: OperationCall) -> Response:
    """Answer with the number, 99 at most."""
    reader = notice_reader(call.context)
    with call.context.gateway.store.read_transaction(single_statement=True) as connection:
        unread = count_unread(connection, reader)
    call.record()
    return call.respond(parameter("unread", unread))
