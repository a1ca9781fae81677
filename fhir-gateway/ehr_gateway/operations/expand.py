"""`$expand`: the codes of a value set as a list, in pages, filtered by words."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Unprocessable
from ehr_fhir.json_text import serialize
from ehr_fhir.terminology.expansion import Expansion, ExpansionRequest, expand
from ehr_fhir.terminology.supplements import named_supplements
from ehr_fhir.terminology.value_sets import (
    ResolvedValueSet,
    resolve_value_set,
)
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.operations._terminology import (
    CALLERS,
    COMMON_PARAMETERS,
    VERSION_PARAMETERS,
    Terms,
    open_terms,
    read_value_set,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="expand",
    summary="List the codes of a value set.",
    levels=("type", "instance"),
    resource_types=("ValueSet",),
    standards={"ValueSet": "http://hl7.org/fhir/OperationDefinition/ValueSet-expand"},
    returns="ValueSet",
    affects_state=False,
    input="either",
    callers=CALLERS,
    parameters=(
        Parameter("url", "uri", "The value set, as `url` or `url|version`", levels=("type",)),
        Parameter("valueSet", "ValueSet", "Or the value set itself", levels=("type",)),
        Parameter("valueSetVersion", "string", "Its version", levels=("type",)),
        Parameter("filter", "string", "Words: each begins a word of a name or of the code"),
        Parameter("offset", "integer", "How many codes to pass over"),
        Parameter("count", "integer", "How many codes to list; 0 for their number alone"),
        Parameter("includeDesignations", "boolean", "Whether all names are listed"),
        Parameter(
            "designation", "string", "A language, or `system|code` of a use: only names of it",
            most="*",
        ),
        Parameter("includeDefinition", "boolean", "Whether the definition (`compose`) is shown"),
        Parameter("activeOnly", "boolean", "Leave out codes that are no longer used"),
        Parameter("excludeNested", "boolean", "No levels: a flat list"),
        Parameter("excludeNotForUI", "boolean", "Leave out codes that group others"),
        Parameter("excludePostCoordinated", "boolean", "Taken; no such codes are listed anyway"),
        Parameter("exclude-system", "canonical", "Leave out a code system", most="*"),
        *VERSION_PARAMETERS,
        *COMMON_PARAMETERS,
    ),
    required_scope=None,
)  # fmt: skip
_MOST_COUNT = 1_000_000_000
_MOST_SENT = 50
# What an expansion says of the value set it was made from.
_SHOWN = ("id", "url", "version", "name", "title", "status", "experimental", "compose")


def answer(call: OperationCall) -> Response:
    """Answer with the ValueSet and its expansion."""
    with open_terms(call) as terms:
        value_set = read_value_set(terms)
        terms = terms.with_supplements_of(value_set)
        resolved = resolve_value_set(value_set, terms.library, terms.versions())
        resolved = _without_systems(resolved, terms.sent.texts("exclude-system", _MOST_SENT))
        _check_versions(resolved, terms.checked_versions())
        request = _read_request(terms)
        expansion = expand(resolved, request)
        body = _build_answer(terms, value_set, request, expansion)
    return fhir_response(serialize(body), pretty=call.preferences.pretty)


def _read_request(terms: Terms) -> ExpansionRequest:
    sent = terms.sent
    return ExpansionRequest(
        text=sent.optional_text("filter") or "",
        offset=sent.optional_integer("offset", 0, _MOST_COUNT) or 0,
        count=sent.optional_integer("count", 0, _MOST_COUNT),
        active_only=sent.optional_boolean("activeOnly"),
        exclude_nested=sent.optional_boolean("excludeNested"),
        exclude_not_for_ui=sent.optional_boolean("excludeNotForUI"),
        with_designations=sent.optional_boolean("includeDesignations"),
        designations=sent.texts("designation", _MOST_SENT),
        languages=terms.languages,
    )


def _without_systems(value_set: ResolvedValueSet, systems: tuple[str, ...]) -> ResolvedValueSet:
    left_out = {one.partition("|")[0] for one in systems}
    kept = tuple(part for part in value_set.includes if part.url not in left_out)
    return replace(value_set, includes=kept) if left_out else value_set


def _check_versions(value_set: ResolvedValueSet, checked: Mapping[str, str]) -> None:
    for part in value_set.parts():
        wanted = checked.get(part.url)
        found = part.system.header.version if part.system else part.version
        if wanted and found != wanted:
            raise Unprocessable(
                "The value set takes another version of a code system than the one to check.",
                issue_code="exception", expression="check-system-version",
            )  # fmt: skip


def _build_answer(
    terms: Terms, value_set: Mapping[str, Any], request: ExpansionRequest, expansion: Expansion
) -> dict[str, Any]:
    with_definition = terms.sent.optional_boolean("includeDefinition")
    shown = {
        key: value_set[key]
        for key in _SHOWN
        if key in value_set and (with_definition or key != "compose")
    }
    parameters = list(_applied_parameters(terms, value_set, request, expansion))
    made = json.dumps([shown.get("url"), parameters, expansion.contains], default=str)
    content: dict[str, Any] = {
        # The same expansion has the same name.
        "identifier": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, made)}",
        "timestamp": format_instant(terms.call.context.access.now_ms),
        "total": expansion.total,
        "offset": request.offset,
    }
    if parameters:
        content["parameter"] = parameters
    if expansion.contains:
        content["contains"] = expansion.contains
    return {"resourceType": "ValueSet", "status": "active", **shown, "expansion": content}


def _applied_parameters(
    terms: Terms,
    value_set: Mapping[str, Any],
    request: ExpansionRequest,
    expansion: Expansion,
) -> Iterator[dict[str, Any]]:
    """Yield what the expansion was made with (ValueSet.expansion.parameter)."""
    if request.text:
        yield {"name": "filter", "valueString": request.text}
    if request.count is not None:
        yield {"name": "count", "valueInteger": request.count}
    for name in (
        "activeOnly", "excludeNested", "excludeNotForUI", "includeDesignations", "includeDefinition"
    ):  # fmt: skip
        if terms.sent.has(name):
            yield {"name": name, "valueBoolean": terms.sent.optional_boolean(name)}
    if request.languages:
        yield {"name": "displayLanguage", "valueCode": request.languages[0]}
    for canonical in expansion.used_systems:
        # R4 calls it `version`, later versions `used-codesystem`.
        yield {"name": "used-codesystem", "valueUri": canonical}
        yield {"name": "version", "valueUri": canonical}
    for canonical in expansion.used_value_sets:
        yield {"name": "used-valueset", "valueUri": canonical}
    for canonical in dict.fromkeys(
        (*terms.sent.texts("useSupplement", _MOST_SENT), *named_supplements(value_set))
    ):
        yield {"name": "used-supplement", "valueUri": canonical}
