"""`$export` of Bulk Data Access: what the requester may see, as NDJSON files, to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid
from ehr_fhir.json_text import parse
from ehr_gateway.bulk_data.exports import begin_export
from ehr_gateway.bulk_data.request import Level, parse_export_request
from ehr_gateway.http.bulk_exports import accepted_response, export_owner
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

_STANDARD = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"

OPERATION = Operation(
    name="export",
    summary="Export the records that the caller may see, of all, of patients or of a Group, as"
    " files of newline-delimited JSON.",
    levels=("system", "type", "instance"),
    resource_types=("Patient",),
    instance_types=("Group",),
    standards={
        "": f"{_STANDARD}/export",
        "Patient": f"{_STANDARD}/patient-export",
        "Group": f"{_STANDARD}/group-export",
    },
    returns="",
    affects_state=True,
    input="either",
    callers="an organisation's system, by `system/` scopes; a patient, of the own record by"
    " `Patient/$export`",
    parameters=(
        Parameter("_outputFormat", "string", "`application/fhir+ndjson`, `application/ndjson` or"
                  " `ndjson`; `application/vnd.apache.parquet` or `parquet`"),
        Parameter("_since", "instant", "What was written at this instant or later"),
        Parameter("_until", "instant", "The versions that were the newest before this instant"),
        Parameter("_type", "string", "Types, with commas between them", most="*"),
        Parameter("_typeFilter", "string", "Searches such as `Observation?code=718-7`, with commas"
                  " between them; of several of one type a resource matches any", most="*"),
        Parameter("_elements", "string", "Elements to keep, such as `id` or `Patient.name`, with"
                  " commas between them", most="*"),
        Parameter("includeAssociatedData", "string", "`LatestProvenanceResources` or"
                  " `RelevantProvenanceResources`", most="*"),
        Parameter("patient", "Reference", "The patients to export, by POST", most="*",
                  levels=("type", "instance")),
        Parameter("organizeOutputBy", "string", "`Patient`: each file holds all records of its"
                  " patients, one patient after the other", levels=("type", "instance")),
        Parameter("allowPartialManifests", "boolean", "Whether the manifest may come in pages, the"
                  " first before all files are known"),
    ),
    required_scope=None,
)  # fmt: skip
_LEVELS: dict[str, Level] = {"": "system", "Patient": "Patient", "Group": "Group"}
_MOST_PARAMETERS = 20_000


def answer(call: OperationCall) -> Response:
    """Begin an export; answer with the address of its status."""
    context, request = call.context, call.context.request
    owner, level = export_owner(context), _LEVELS[call.resource_type]
    if context.caller.subject.role == "patient" and level != "Patient":
        raise Forbidden("A patient exports the own record: Patient/$export.")
    prefer = ",".join(request.headers.getlist("prefer"))
    if "respond-async" not in prefer.replace(" ", "").lower().replace(";", ",").split(","):
        raise Invalid("An export is answered later: send `Prefer: respond-async`.")
    pairs = list(_read_pairs(call)) if request.method == "POST" else call.query
    store = context.gateway.store
    with store.read_transaction() as connection:
        added = store.registry(connection).served
    parsed = parse_export_request(
        context.access, level, pairs,
        url=_address_called(request), lenient=call.preferences.lenient, added=added,
    )  # fmt: skip
    subject = context.caller.subject
    if subject.role == "patient" and subject.patient is not None:
        if parsed.patients not in (None, (subject.patient,)):
            raise Forbidden("A patient exports the own record.")
        parsed = replace(parsed, patients=(subject.patient,))
    export = begin_export(store, context.access, owner, parsed, call.logical_id)
    call.record()
    return accepted_response(context, export)


def _address_called(request: Request) -> str:
    """Return path and query of the kick-off, which the manifest repeats."""
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def _read_pairs(call: OperationCall) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a body as a query would have them."""
    if not call.body.strip():
        return
    body = parse(call.body)
    sent = body.get("parameter", [])
    if body.get("resourceType") != "Parameters" or not isinstance(sent, list):
        raise Invalid("Send a Parameters resource.", expression="Parameters")
    if len(sent) > _MOST_PARAMETERS:
        raise Invalid("There are too many parameters.", expression="Parameters.parameter")
    for index, parameter in enumerate(sent):
        place = f"Parameters.parameter[{index}]"
        name = str(parameter.get("name")) if isinstance(parameter, dict) else ""
        if name not in call.parameter_types:
            if call.preferences.lenient:
                continue
            known = ", ".join(call.parameter_types)
            raise Invalid(f"The parameters of this operation are {known}.", expression=place)
        values = [value for key, value in parameter.items() if key.startswith("value")]
        if len(values) != 1:
            raise Invalid(f"The parameter {name} needs one value.", expression=place)
        yield name, _as_text(values[0], place)


def _as_text(value: Any, place: str) -> str:
    if isinstance(value, dict):
        value = value.get("reference")
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise Invalid("This parameter takes a text or a Reference.", expression=place)
    return value
