"""`$document`: a document Bundle of a Composition and what it refers to (R4 §2.42.9)."""

from __future__ import annotations

import uuid
from hashlib import sha256

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid
from ehr_fhir.ips.compose import referenced_by
from ehr_fhir.json_text import parse
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations._record_parameters import parse_once
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.store.visible import read_on, read_several

OPERATION = Operation(
    name="document",
    summary="Return a document: a Composition with what it refers to, as the caller may see it.",
    levels=("instance",),
    resource_types=("Composition",),
    standards={"Composition": "http://hl7.org/fhir/OperationDefinition/Composition-document"},
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="whoever may read the Composition",
    parameters=(
        Parameter("persist", "boolean", "Whether the document is kept here: `false` alone"),
    ),
    required_scope=None,
)
_NAMESPACE = uuid.UUID("0b8a3a5e-2f5b-5f0e-8a6d-5d9c1d1d7f20")


def answer(call: OperationCall) -> Response:
    """Answer with the document; what is hidden is left out, as what is not there is."""
    context = call.context
    sent = parse_once(call.plain_pairs())
    if sent.get("persist", "false") != "false":
        raise Invalid(
            "`persist`: a document is made and not kept. Store it as a Bundle.",
            issue_code="not-supported",
            expression="persist",
        )
    with context.gateway.store.read_transaction() as connection:
        composition = read_on(
            connection, context.access, "Composition", call.logical_id, to_disclose=True
        )
        names = dict.fromkeys(referenced_by(parse(composition.body)))
        targets = [(kind, identity) for kind, _, identity in (n.partition("/") for n in names)]
        versions = [composition, *read_several(connection, context.access, targets)]
    record_disclosure(context, call.audit_context, versions)
    at, base = format_instant(context.access.now_ms), context.gateway.settings.fhir_base
    entries = [
        build_entry(f"{base}/{version.type}/{version.id}", version.body) for version in versions
    ]
    digest = sha256(b"\n".join([at.encode(), *entries])).hexdigest()
    identifier = {
        "system": "urn:ietf:rfc:3986",
        "value": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
    }
    body = build_bundle("document", entries, more={"identifier": identifier, "timestamp": at})
    return fhir_response(body, pretty=call.preferences.pretty)
