"""`$docref`: the documents of a patient (US Core 8, IPA 1.1), the patient summary among them."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.json_text import parse
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations._record_parameters import parse_day, parse_once
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.record_page import find_whole_record
from ehr_gateway.store.store import Version
from ehr_gateway.store.visible import read_several

OPERATION = Operation(
    name="docref",
    summary="List the documents of a patient that the caller may see.",
    levels=("type",),
    resource_types=("DocumentReference",),
    standards={"DocumentReference": "http://hl7.org/fhir/us/core/OperationDefinition/docref"},
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="whoever may search DocumentReferences",
    parameters=(
        Parameter("patient", "id", "Whose documents", 1),
        Parameter("start", "date", "Care on this day or later"),
        Parameter("end", "date", "Care on this day or earlier"),
        Parameter("type", "string", "`system|code` or a code; when nothing is said, any type"),
        Parameter("on-demand", "boolean", "Also documents that are made when they are read"),
    ),
    required_scope=None,
)
# Chosen: they come in one answer.
_MOST_DOCUMENTS = 1000
_LOINC, _SUMMARY = "http://loinc.org", "60591-5"
_NAMESPACE = uuid.UUID("3d6e2f0a-94cf-5d4b-9a0e-2b1f6a1c7c11")


def answer(call: OperationCall) -> Response:
    """Answer with the documents, the newest first; without a period with the newest alone."""
    context, pairs = call.context, call.plain_pairs()
    sent, access = parse_once(pairs), call.context.access
    patient = sent.get("patient", "").removeprefix("Patient/")
    if not patient:
        raise Invalid("Name the patient.", expression="patient")
    care = (
        parse_day("start", sent["start"])[0] if "start" in sent else None,
        parse_day("end", sent["end"])[1] if "end" in sent else None,
    )
    if sent.get("on-demand", "false") not in ("true", "false"):
        raise Invalid("`on-demand` is true or false.", expression="on-demand")
    access.require_scope("search", "DocumentReference")
    base = context.gateway.settings.fhir_base
    with context.gateway.store.read_transaction() as connection:
        versions = find_whole_record(
            connection, context.gateway.store, access, patient, ["DocumentReference"],
            most=_MOST_DOCUMENTS + 1, care_ms=care,
        )  # fmt: skip
        if len(versions) > _MOST_DOCUMENTS:
            raise TooCostly("There are more documents than one answer holds: narrow the period.")
        # Of a Patient who is absent, hidden or deleted there is no summary.
        shows_patient = sent.get("on-demand") == "true" and bool(
            read_several(connection, access, [("Patient", patient)])
        )
    documents = _select(versions, sent.get("type"))
    if care == (None, None):
        documents = documents[:1]
    record_disclosure(context, call.audit_context, documents)
    entries = [
        build_entry(f"{base}/{one.type}/{one.id}", one.body, mode="match") for one in documents
    ]
    if shows_patient and _is_of_type([{"system": _LOINC, "code": _SUMMARY}], sent.get("type")):
        made = _summary_reference(patient, base, format_instant(access.now_ms))
        entries.append(build_entry(f"urn:uuid:{made['id']}", orjson.dumps(made), mode="match"))
    links = [("self", build_page_url(f"{base}/DocumentReference/$docref", pairs))]
    body = build_bundle("searchset", entries, links=links)
    return fhir_response(body, pretty=call.preferences.pretty)


def _select(versions: list[Version], asked: str | None) -> list[Version]:
    """Return the documents that are current and of the type that is asked for, newest first."""
    bodies = {version.id: parse(version.body) for version in versions}
    chosen = [
        version
        for version in versions
        if bodies[version.id].get("status") == "current"
        and _is_of_type(bodies[version.id].get("type", {}).get("coding", ()), asked)
    ]
    return sorted(chosen, key=lambda one: str(bodies[one.id].get("date", "")), reverse=True)


def _is_of_type(codings: Any, asked: str | None) -> bool:
    if asked is None:
        return True
    system, bar, code = asked.rpartition("|")
    return any(
        coding.get("code") == code and (not bar or coding.get("system", "") == system)
        for coding in codings
    )


def _summary_reference(patient: str, base: str, at: str) -> dict[str, Any]:
    """Return a DocumentReference to the patient summary, which is made when it is read."""
    return {
        "resourceType": "DocumentReference",
        "id": str(uuid.uuid5(_NAMESPACE, patient)),
        "status": "current",
        "type": {"coding": [{"system": _LOINC, "code": _SUMMARY}]},
        "subject": {"reference": f"Patient/{patient}"},
        "date": at,
        "content": [
            {
                "attachment": {
                    "contentType": "application/fhir+json",
                    "url": f"{base}/Patient/{patient}/$summary",
                }
            }
        ],
    }
