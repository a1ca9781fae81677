"""`$create-health-link`: a link by which somebody without an account opens a patient's summary."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.health_links.make_link import CONTENTS, make_link
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.parameters import parameter
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations._terms import end_of_term
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="create-health-link",
    summary="Make a SMART Health Link to a patient's summary; it is told once.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=True,
    callers="the patient, a carer who sees the record and decides about it",
    parameters=(
        Parameter("content", "code", "`snapshot`: as it is now; `live`: as it is when opened", 1),
        Parameter("passcode", "string", "What the receiver types: 6 to 64 characters", 1),
        Parameter("until", "dateTime", "When it ends, a year from now at most", 1),
        Parameter("label", "string", "What the link is called: 80 characters at most"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Make the link; its address and its key are told here and never again."""
    sent = call.parse_body()
    made = make_link(
        call.context,
        call.logical_id,
        label=sent.optional_text("label") or "",
        passcode=sent.text("passcode"),
        content=sent.code("content", CONTENTS),
        language=choose_language("", call.context.request.headers.get("accept-language", "")),
        until_ms=end_of_term(sent),
    )
    if made.summary is not None:
        record_disclosure(call.context, call.audit_context, made.summary.disclosed)
    return call.respond(
        parameter("id", made.row.id),
        parameter("link", made.text),
        {"name": "until", "valueInstant": format_instant(made.row.expires_ms)},
    )
