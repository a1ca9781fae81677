"""`$review-access`: a steward's finding on an emergency access."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.access_requests import review
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="review-access",
    summary="Put the steward's finding on the books, once.",
    levels=("system",),
    affects_state=True,
    callers="a steward",
    parameters=(
        Parameter("access", "id", "The access, as `$access-reviews` lists it", 1),
        Parameter("finding", "code", "`justified` or `not-justified`", 1),
        Parameter("note", "string", "Why, in the steward's words", 1),
    ),
)
_SHORTEST_NOTE = 3


def answer(call: OperationCall) -> Response:
    """Store the finding."""
    sent = call.parse_body()
    finding = sent.code("finding", review.FINDINGS)
    note = sent.plain_text("note", _SHORTEST_NOTE)
    review.review_access(call.context, sent.text("access"), finding, note)
    return call.respond(parameter("finding", finding))
