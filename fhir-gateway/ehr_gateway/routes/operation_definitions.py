"""OperationDefinitions over HTTP: read, and search by what R4 lets them be found by.

Like the CapabilityStatement that names them they need no token: they say what the server does, and
nothing about anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_fhir.search.query import parse_subset
from ehr_gateway.conformance.metadata import find_optional_context, record_capabilities
from ehr_gateway.conformance.operation_definitions import (
    DEFINITION_PARAMETERS,
    build_operation_definitions,
)
from ehr_gateway.gateway import gateway_of
from ehr_gateway.http.body import read_form_pairs
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import GENERAL_PARAMETERS, fhir_response, parse_preferences
from ehr_gateway.http.query_string import check_parameters, parse_query
from ehr_gateway.routes import resources
from ehr_gateway.routes.endpoints import lookup

__all__ = ["read_definition", "search_definitions", "search_definitions_by_form"]

_TYPE = "OperationDefinition"
_SUBSET_PARAMETERS = ("_elements", "_summary")
_DEFAULT_COUNT, _MAX_COUNT = 200, 1000
_MOST_DIGITS = 9
_read_stored = lookup(resources.read_resource)
Definition = Mapping[str, Any]
Pairs = list[tuple[str, str]]


async def read_definition(request: Request, path_params: dict[str, str]) -> Response:
    """Read the definition of one operation."""
    definitions = build_operation_definitions(gateway_of(request).settings.fhir_base)
    definition = definitions.get(path_params["logical_id"])
    if definition is None:
        # One that was stored before they were made here.
        return await _read_stored(request, {"resource_type": _TYPE, **path_params})
    prefer = parse_preferences(request)
    record_capabilities(await find_optional_context(request))
    pairs = check_parameters(request, lenient=prefer.lenient, allowed=_SUBSET_PARAMETERS)
    subset = parse_subset(_TYPE, pairs)
    body = orjson.dumps(definition)
    return fhir_response(subset.cut(body) if subset else body, pretty=prefer.pretty)


async def search_definitions(request: Request, path_params: dict[str, str]) -> Response:
    """Search them."""
    record_capabilities(await find_optional_context(request))
    return _answer_search(request, parse_query(request))


async def search_definitions_by_form(request: Request, path_params: dict[str, str]) -> Response:
    """Search them by a form."""
    # First, so that a form that cannot be read is on record, too.
    record_capabilities(await find_optional_context(request))
    form = await read_form_pairs(request)
    pairs = [pair for pair in form if pair[0] not in GENERAL_PARAMETERS]
    return _answer_search(request, [*parse_query(request), *pairs])


def _answer_search(request: Request, pairs: Pairs) -> Response:
    prefer = parse_preferences(request)
    base = gateway_of(request).settings.fhir_base
    subset = parse_subset(_TYPE, [pair for pair in pairs if pair[0] in _SUBSET_PARAMETERS])
    found = list(build_operation_definitions(base).values())
    count, after, kept = _DEFAULT_COUNT, "", Pairs()
    for name, value in pairs:
        if name == "_cursor":
            after = value
            continue
        if name == "_count":
            count = _parse_count(value)
        elif name not in (*_SUBSET_PARAMETERS, "_total"):
            test = _parse_test(name)
            if test is None:
                if prefer.lenient:
                    continue
                raise Invalid(f"{_TYPE} is searched by {', '.join(DEFINITION_PARAMETERS)}.")
            values = [one for one in value.split(",") if one]
            found = [one for one in found if any(test(one, text) for text in values)]
        kept.append((name, value))
    is_count = subset is not None and subset.summary == "count"
    rest = [one for one in found if one["id"] > after]
    shown = [] if is_count else rest[:count]
    address = f"{base}/{_TYPE}"
    links = [("self", build_page_url(address, kept))]
    if shown and len(rest) > count:
        links.append(("next", build_page_url(address, [*kept, ("_cursor", shown[-1]["id"])])))
    bodies = [orjson.dumps(one) for one in shown]
    entries = [
        build_entry(one["url"], subset.cut(body) if subset else body, mode="match")
        for one, body in zip(shown, bodies, strict=True)
    ]
    return fhir_response(
        build_bundle("searchset", entries, total=len(found), links=links), pretty=prefer.pretty
    )


def _parse_test(parameter: str) -> Callable[[Definition, str], bool] | None:
    """Return the test of one value of a search parameter; None for one that is not offered."""
    name, _, modifier = parameter.partition(":")
    kind = DEFINITION_PARAMETERS.get(name)
    element = "id" if name == "_id" else name
    if kind == "string" and modifier in ("", "exact", "contains"):
        return lambda one, text: _matches_text(one[element], text, modifier)
    if kind is None or modifier:
        return None
    if kind == "token":
        return lambda one, text: _code_of(one[element]) == text.rpartition("|")[2]
    return lambda one, text: one.get(element) == text


def _matches_text(content: str, text: str, modifier: str) -> bool:
    if modifier == "exact":
        return content == text
    folded, wanted = content.casefold(), text.casefold()
    return wanted in folded if modifier == "contains" else folded.startswith(wanted)


def _code_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise Invalid("_count must be a whole number.")
    return min(int(value), _MAX_COUNT)
