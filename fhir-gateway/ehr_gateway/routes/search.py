"""Search over HTTP: GET with parameters, or POST _search with a form (R4 §3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from fastapi.responses import Response

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, NotFound, operation_outcome
from ehr_fhir.search.compartment_filters import COMPARTMENTS
from ehr_fhir.subset import Subset
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import (
    GENERAL_PARAMETERS,
    fhir_response,
    json_response,
    parse_preferences,
)
from ehr_gateway.http.query_string import parse_query
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.search import page as search
from ehr_gateway.search.across_types import search_types
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Version

# It has a search of its own.
_LOG = "AuditEvent"
_ALL = "*"
Pairs = list[tuple[str, str]]


def search_system(context: RequestContext) -> Response:
    """Search all resource types, or those that `_type` names."""
    return _search(context, _ALL, parse_query(context.request))


def search_system_by_form(context: RequestContext, body: Pairs) -> Response:
    """Search all resource types by a form."""
    return _search(context, _ALL, _with_form(context, body))


def search_type(context: RequestContext, resource_type: str) -> Response:
    """Search one resource type."""
    return _search(context, _named(resource_type), parse_query(context.request))


def search_type_by_form(context: RequestContext, resource_type: str, body: Pairs) -> Response:
    """Search one resource type by a form, whose values stay out of addresses and their logs."""
    return _search(context, _named(resource_type), _with_form(context, body))


def search_compartment(
    context: RequestContext, owner: str, logical_id: str, resource_type: str
) -> Response:
    """Search one resource type, or `*`, in what belongs to one resource, such as a patient."""
    kind = _in_compartment(owner, resource_type)
    return _search(context, kind, parse_query(context.request), (owner, logical_id))


def search_compartment_by_form(
    context: RequestContext, owner: str, logical_id: str, resource_type: str, body: Pairs
) -> Response:
    """Search what belongs to one resource by a form."""
    kind = _in_compartment(owner, resource_type)
    return _search(context, kind, _with_form(context, body), (owner, logical_id))


def _with_form(context: RequestContext, form: Pairs) -> Pairs:
    pairs = [pair for pair in form if pair[0] not in GENERAL_PARAMETERS]
    return [*parse_query(context.request), *pairs]


def _named(resource_type: str) -> str:
    if resource_type not in definitions.resource_types():
        raise NotFound("The address names no resource type of FHIR R4.")
    return resource_type


def _in_compartment(owner: str, resource_type: str) -> str:
    if owner not in COMPARTMENTS or resource_type == _LOG:
        raise NotFound(f"{', '.join(COMPARTMENTS)} have compartments; this address has none.")
    return resource_type if resource_type == _ALL else _named(resource_type)


def _search(
    context: RequestContext, kind: str, pairs: Pairs, within: tuple[str, str] | None = None
) -> Response:
    gateway, prefer = context.gateway, parse_preferences(context.request)
    place = "/".join([*(within or ()), *([kind] if within or kind != _ALL else [])])
    query = f"{place}?" + "&".join(name[:64] for name, _ in pairs)
    audit_context = context.begin_audit("search-system" if kind == _ALL else "search-type", query)
    limits = search_limits(gateway.settings)
    if any(name == "_explain" for name, _ in pairs):
        context.add_audit_entry(
            recorder.build_event_rows(audit_context=audit_context, patient=None)
        )
        return _explained(context, kind, pairs, within, limits)
    if kind == _ALL:
        page = search_types(
            gateway.store,
            context.access,
            pairs,
            within=within,
            lenient=prefer.lenient,
            limits=limits,
        )
    else:
        page = search.search(
            gateway.store, context.access, kind, pairs,
            within=within, lenient=prefer.lenient, limits=limits,
        )  # fmt: skip
    record_disclosure(context, audit_context, [*page.matches, *page.included])
    cursor = [pair for pair in pairs if pair[0] == "_cursor"]
    body = build_searchset(gateway.settings.fhir_base, place, page, cursor)
    return fhir_response(body, pretty=prefer.pretty)


def search_limits(settings: GatewaySettings) -> SearchLimits:
    """Return what a search at this address may cost."""
    return SearchLimits(
        settings.fhir_base,
        settings.max_search_rows,
        settings.max_include_rounds,
        settings.max_included,
    )


def _explained(
    context: RequestContext,
    kind: str,
    pairs: Pairs,
    within: tuple[str, str] | None,
    limits: SearchLimits,
) -> Response:
    rest = [pair for pair in pairs if pair[0] != "_explain"]
    if kind == _ALL:
        raise Invalid("`_explain` is for a search of one type.", issue_code="not-supported")
    store = context.gateway.store
    plan = search.explain_search(store, context.access, kind, rest, within=within, limits=limits)
    lines = [{"name": "plan", "valueString": line} for line in plan]
    database = {"name": "database", "valueCode": store.dialect}
    return json_response({"resourceType": "Parameters", "parameter": [database, *lines]})


def build_searchset(
    base: str, place: str, page: search.SearchPage, cursor: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return the bytes of a searchset; `cursor` is the parameter by which this page was asked."""
    address = f"{base}/{place}" if place else base
    links = [("self", build_page_url(address, [*page.self_pairs, *cursor]))]
    if page.next_cursor is not None:
        links.append(
            ("next", build_page_url(address, [*page.self_pairs, ("_cursor", page.next_cursor)]))
        )
    entries = [
        build_entry(
            f"{base}/{version.type}/{version.id}", _part(page.subset, version, mode), mode=mode
        )
        for mode, versions in (("match", page.matches), ("include", page.included))
        for version in versions
    ]
    if page.issues:
        outcome = operation_outcome(Invalid("", issues=page.issues))
        entries.append(build_entry(None, orjson.dumps(outcome), mode="outcome"))
    return build_bundle("searchset", entries, total=page.total, links=links)


def _part(subset: Subset | None, version: Version, mode: str) -> bytes:
    # `_elements` names elements of the type searched; what comes along has others.
    if subset is None or (mode == "include" and subset.elements):
        return version.body
    return subset.cut(version.body)
