"""`$identity-proposals`: changes of a person's identity that wait for a steward."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.identity_decisions import IdentityProposal, list_proposals
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="identity-proposals",
    summary="List proposed changes of name, birth date, sex and identity documents.",
    levels=("system",),
    affects_state=False,
    callers="a steward",
)


def answer(call: OperationCall) -> Response:
    """Answer with a `proposal` for each; whoever is named in one is put on record."""
    with call.context.gateway.store.read_transaction() as connection:
        proposals = list_proposals(connection, call.context)
    for patient in sorted({proposal.request.patient for proposal in proposals}):
        call.record(patient, entities=[f"Patient/{patient}"])
    if not proposals:
        call.record()
    return call.respond(*({"name": "proposal", "part": _parts(proposal)} for proposal in proposals))


def _parts(proposal: IdentityProposal) -> list[dict[str, Any]]:
    request = proposal.request
    words = {
        "id": request.id,
        "patient": request.patient,
        "person": request.person,
        "display": request.display,
        "organization": request.organization,
    }
    parts = [parameter(name, word) for name, word in words.items() if word]
    parts.append({"name": "asked", "valueInstant": format_instant(request.asked_ms)})
    parts.append(parameter("current", proposal.is_current))
    for element, (now, proposed) in proposal.changes.items():
        values = {"now": now, "proposed": proposed}
        parts.append({
            "name": "change",
            "part": [
                {"name": "element", "valueCode": element},
                *(
                    parameter(name, _text(value))
                    for name, value in values.items()
                    if value is not None
                ),
            ],
        })  # fmt: skip
    return parts


def _text(value: object) -> str:
    """Return a code or date as it is, and any other value as its JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
