"""`$choices`: every choice that was made about a patient's record, by whom and when."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.choice_history import Choice, list_choices
from ehr_gateway.access_requests.role_checks import require_decider
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="choices",
    summary="List the choices about a patient's record, newest first, with who made each.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, who decides for them",
    # A person's token must cover reading Consents, which is checked below.
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `choice` each: the Consent as it then was, who made it, whether it is final."""
    context, patient = call.context, call.logical_id
    access = context.access
    access.require_scope("read", "Consent")
    with context.gateway.store.read_transaction() as connection:
        require_decider(connection, access, patient)
        choices = list_choices(connection, access, patient)
    consents = dict.fromkeys(f"Consent/{choice.consent}" for choice in choices if choice.consent)
    call.record(patient, entities=consents)
    return call.respond(*({"name": "choice", "part": _parts(choice)} for choice in choices))


def _parts(choice: Choice) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"name": "category", "valueCode": choice.category},
        {"name": "at", "valueInstant": format_instant(choice.at_ms)},
        {"name": "made-by", "valueCode": choice.made_by},
    ]
    if choice.display:
        parts.append(parameter("display", choice.display))
    if choice.consent:
        parts += [
            parameter("consent", choice.consent),
            parameter("version", choice.version),
            parameter("newest", choice.is_newest),
            parameter("final", choice.is_final),
        ]
    if choice.ended_ms is not None:
        parts.append({"name": "ended", "valueInstant": format_instant(choice.ended_ms)})
    if choice.resource is not None:
        parts.append({"name": "content", "resource": choice.resource})
    return parts
