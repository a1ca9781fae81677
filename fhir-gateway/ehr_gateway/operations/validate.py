"""`$validate`: what is wrong with a resource by R4 and by profiles; nothing is stored.

Not checked: whether the requester's role and the patient's consent would let the write through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Issue, TooCostly, Unprocessable, operation_outcome
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.profiles.findings import Finding
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.operation_parameters import parse_query
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.http.responses import record_disclosure, require_resource_type
from ehr_gateway.interaction_codes import NOT_WRITTEN
from ehr_gateway.interactions import read
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter
from ehr_gateway.terminology.library import LoadedLibrary

OPERATION = Operation(
    name="validate",
    summary="Say what is wrong with a resource by FHIR R4 and by profiles, without storing it.",
    levels=("type", "instance"),
    resource_types=(ANY_TYPE,),
    standards={ANY_TYPE: "http://hl7.org/fhir/OperationDefinition/Resource-validate"},
    returns="OperationOutcome",
    affects_state=False,
    input="either",
    callers="whoever may read the resource; of one that is sent, everybody",
    parameters=(
        Parameter(
            "resource",
            "Resource",
            "The resource; at the instance level the stored one when nothing is sent",
        ),
        Parameter("mode", "code", "`create`, `update`, `delete`, `profile` or `no-action`"),
        Parameter("profile", "canonical", "A profile that it must meet", 0, "*"),
    ),
    # A resource that is sent tells its sender nothing; of a stored one its scope is needed.
    required_scope=None,
)
_MODES = ("create", "update", "delete", "profile", "no-action")
_NAMES = frozenset(parameter.name for parameter in OPERATION.parameters)
_MOST_PROFILES = 20
# Chosen: a larger one would keep a processor for many seconds.
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class _Question:
    # Any: a resource as parsed JSON; None where none was sent.
    resource: Mapping[str, Any] | None
    mode: str
    profiles: tuple[str, ...]


def answer(call: OperationCall) -> Response:
    """Answer with an OperationOutcome: the findings, or that there are none."""
    require_resource_type(call.resource_type)
    question = _read_question(call)
    stored = _read_stored(call)
    resource = question.resource
    if resource is None:
        if stored is None:
            raise Invalid("Send the resource that is to be validated.", expression="Parameters")
        resource = stored
    findings = _check_mode(call, question, resource, stored)
    if question.mode != "delete":
        findings += _validate(call, resource, question.profiles)
    if stored is None:
        call.record()
    return _respond(call, findings)


def _read_question(call: OperationCall) -> _Question:
    """Read the address and the body; a body that holds no parameters of ours is the resource."""
    request = call.context.request
    allowed = _NAMES - {"resource"}
    pairs = check_parameters(request, lenient=call.preferences.lenient, allowed=allowed)
    sent = [parse_query(pairs, call.parameter_types)]
    resource = None
    if call.body:
        if len(call.body) > _MOST_BYTES:
            raise TooCostly(f"A resource of more than {_MOST_BYTES} bytes is not validated here.")
        resource = parse(call.body)
        if _is_input(resource):
            sent.append(call.parse_body())
            resource = next(iter(sent[-1].resources("resource", 1)), None)
    modes = [part.code("mode", _MODES) for part in sent if part.has("mode")]
    profiles = [url for part in sent for url in part.texts("profile", _MOST_PROFILES)]
    mode = modes[-1] if modes else ""
    if mode == "profile" and not profiles:
        raise Unprocessable("The mode `profile` needs a profile.", expression="profile")
    if mode in ("update", "delete") and not call.logical_id:
        text = f"The mode `{mode}` is of one resource: call the operation on its address."
        raise Unprocessable(text, expression="mode")
    return _Question(resource, mode, tuple(dict.fromkeys(profiles)))


def _is_input(sent: Mapping[str, Any]) -> bool:
    """Say whether what was sent holds our parameters, or is the resource itself."""
    parameters = sent.get("parameter", [])
    return sent.get("resourceType") == "Parameters" and (
        isinstance(parameters, list)
        and all(isinstance(one, dict) and one.get("name") in _NAMES for one in parameters)
    )


def _read_stored(call: OperationCall) -> dict[str, Any] | None:
    """Read the resource that the address names, and put its disclosure on record."""
    if not call.logical_id:
        return None
    context = call.context
    version = read.read(context.gateway.store, context.access, call.resource_type, call.logical_id)
    record_disclosure(context, call.audit_context, [version])
    return parse(version.body)


def _check_mode(
    call: OperationCall,
    question: _Question,
    resource: Mapping[str, Any],
    stored: Mapping[str, Any] | None,
) -> list[Finding]:
    """Check what an interaction would ask of the resource beyond its content."""
    kind, mode = call.resource_type, question.mode
    found = []
    if resource.get("resourceType") != kind:
        text = f"The resource is of another type than the address: {kind}."
        found.append(Finding("error", "invalid", "resourceType", text))
    if mode in ("create", "update") and kind in NOT_WRITTEN:
        found.append(Finding("error", "not-supported", kind, NOT_WRITTEN[kind]))
    if mode in ("create", "update", "delete") and not call.context.access.covers(mode, kind):
        text = f"The token's scopes do not cover the {mode} of a {kind}."
        found.append(Finding("error", "forbidden", kind, text))
    if stored is not None and mode == "update" and resource.get("id") != call.logical_id:
        text = f"{kind}.id must be the id of the address."
        found.append(Finding("error", "invalid", f"{kind}.id", text))
    return found


def _validate(
    call: OperationCall, resource: Mapping[str, Any], profiles: tuple[str, ...]
) -> list[Finding]:
    gateway, access = call.context.gateway, call.context.access
    now = datetime.fromtimestamp(access.now_ms / 1000, UTC)
    with gateway.store.read_transaction() as connection:
        library = gateway.profiles.library(connection, access)
        return library.validate(resource, profiles, now=now, loaded=LoadedLibrary(connection))


def _respond(call: OperationCall, findings: list[Finding]) -> Response:
    issues = [
        Issue(finding.text, finding.expression, finding.code, finding.severity)
        for finding in findings
    ]
    none = Issue("No faults were found.", None, "informational", "information")
    outcome = operation_outcome(Invalid("", issues=issues or [none]))
    return fhir_response(serialize(outcome), pretty=call.preferences.pretty)
