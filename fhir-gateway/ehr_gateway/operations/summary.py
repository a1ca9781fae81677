"""`$summary`: an International Patient Summary of what the caller may see (HL7 IPS 2.0.0)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_fhir.ips.compose import PROFILE
from ehr_fhir.json_text import serialize
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.patient_summary import make_summary

OPERATION = Operation(
    name="summary",
    summary="Return an International Patient Summary of what the caller may see of a record.",
    levels=("instance",),
    resource_types=("Patient",),
    standards={"Patient": "http://hl7.org/fhir/uv/ips/OperationDefinition/summary"},
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="whoever may search every type of record that a summary is made of",
    parameters=(
        Parameter("profile", "canonical", f"The profile of the document: `{PROFILE}` alone"),
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with the document, in the language that the client prefers."""
    context = call.context
    for name, text in call.plain_pairs():
        if text.partition("|")[0] != PROFILE:
            raise Invalid(f"The profile that is served is {PROFILE}.", expression=name)
    language = choose_language("", context.request.headers.get("accept-language", ""))
    summary = make_summary(context.gateway, context.access, call.logical_id, language)
    record_disclosure(context, call.audit_context, summary.disclosed)
    return fhir_response(
        serialize(summary.document),
        headers={"Content-Language": language, "Vary": "Accept-Language"},
        pretty=call.preferences.pretty,
    )
