"""Search over HTTP: GET with parameters, or POST _search with a form (R4 §3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.search.compartment_filters import COMPARTMENTS
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import (
    GENERAL_PARAMETERS,
    fhir_response,
    json_response,
    parse_preferences,
)
from ehr_gateway.http.query_string import describe_query, parse_query
from ehr_gateway.http.responses import record_disclosure, require_resource_type
from ehr_gateway.http.searchset import build_searchset, search_limits
from ehr_gateway.search import page as search
from ehr_gateway.search.across_types import search_types
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.search.statements import SearchLimits

# In a link to the next page of a search by POST: its parameters, sealed, since what was kept out of
# the address of the first page is to stand in none.
_FORM = "_form"
# The audit log has a search of its own.
_AUDIT_LOG = "AuditEvent"
_ALL_TYPES = "*"
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class _SearchTarget:
    """What is searched: one type or all, of the store or of one resource's compartment."""

    resource_type: str
    # Type and id of the resource whose compartment is searched.
    compartment: tuple[str, str] | None = None

    @property
    def path(self) -> str:
        """Return the address of the search below the base."""
        segments = list(self.compartment or ())
        if self.compartment or self.resource_type != _ALL_TYPES:
            segments.append(self.resource_type)
        return "/".join(segments)


def search_system(context: RequestContext) -> Response:
    """Search all resource types, or those that `_type` names."""
    return _answer_search(context, _SearchTarget(_ALL_TYPES), parse_query(context.request))


def search_system_by_form(context: RequestContext, body: Pairs) -> Response:
    """Search all resource types by a form."""
    target = _SearchTarget(_ALL_TYPES)
    return _answer_search(context, target, _join_form(context, body), is_form=True)


def search_type(context: RequestContext, resource_type: str) -> Response:
    """Search one resource type."""
    require_resource_type(resource_type)
    return _answer_search(context, _SearchTarget(resource_type), parse_query(context.request))


def search_type_by_form(context: RequestContext, resource_type: str, body: Pairs) -> Response:
    """Search one resource type by a form, whose values stay out of addresses and their logs."""
    require_resource_type(resource_type)
    target = _SearchTarget(resource_type)
    return _answer_search(context, target, _join_form(context, body), is_form=True)


def search_compartment(
    context: RequestContext, owner: str, logical_id: str, resource_type: str
) -> Response:
    """Search one resource type, or `*`, in one resource's compartment."""
    target = _compartment_target(owner, logical_id, resource_type)
    return _answer_search(context, target, parse_query(context.request))


def search_compartment_by_form(
    context: RequestContext, owner: str, logical_id: str, resource_type: str, body: Pairs
) -> Response:
    """Search one resource's compartment by a form."""
    target = _compartment_target(owner, logical_id, resource_type)
    return _answer_search(context, target, _join_form(context, body), is_form=True)


def _join_form(context: RequestContext, form: Pairs) -> Pairs:
    """Return the parameters of the address and those of the form, which R4 lets stand together."""
    pairs = [pair for pair in form if pair[0] not in GENERAL_PARAMETERS]
    return [*parse_query(context.request), *pairs]


def _compartment_target(owner: str, logical_id: str, resource_type: str) -> _SearchTarget:
    if owner not in COMPARTMENTS or resource_type == _AUDIT_LOG:
        raise NotFound(f"{', '.join(COMPARTMENTS)} have compartments; this address has none.")
    if resource_type != _ALL_TYPES:
        require_resource_type(resource_type)
    return _SearchTarget(resource_type, (owner, logical_id))


def _answer_search(
    context: RequestContext, target: _SearchTarget, pairs: Pairs, *, is_form: bool = False
) -> Response:
    gateway, prefer = context.gateway, parse_preferences(context.request)
    is_form = is_form or any(name == _FORM for name, _ in pairs)
    if is_form:
        pairs = _open_form(gateway.store.cursor_key, target, pairs)
    is_one_type = target.resource_type != _ALL_TYPES
    audit_context = context.begin_audit(
        "search-type" if is_one_type else "search-system", describe_query(target.path, pairs)
    )
    limits = search_limits(gateway.settings)
    if any(name == "_explain" for name, _ in pairs):
        context.add_audit_entry(
            recorder.build_event_rows(audit_context=audit_context, patient=None)
        )
        return _answer_plan(context, target, pairs, limits)
    if is_one_type:
        page = search.search(
            gateway.store,
            context.access,
            target.resource_type,
            pairs,
            within=target.compartment,
            lenient=prefer.lenient,
            limits=limits,
        )
    else:
        page = search_types(
            gateway.store,
            context.access,
            pairs,
            within=target.compartment,
            lenient=prefer.lenient,
            limits=limits,
        )
    record_disclosure(context, audit_context, [*page.matches, *page.included])
    cursor = [pair for pair in pairs if pair[0] == "_cursor"]
    form: Pairs = []
    if is_form and page.next_cursor is not None:
        key = gateway.store.cursor_key
        form = [(_FORM, seal_cursor(key, _form_scope(target), [*map(list, page.self_pairs)]))]
    body = build_searchset(gateway.settings.fhir_base, target.path, page, cursor, form)
    return fhir_response(body, pretty=prefer.pretty)


def _open_form(key: bytes, target: _SearchTarget, pairs: Pairs) -> Pairs:
    """Return the parameters of a search by POST: those of the link to one of its pages, opened."""
    opened: Pairs = []
    for name, value in pairs:
        if name == _FORM:
            sealed = cast("list[list[str]]", open_cursor(key, _form_scope(target), value))
            opened += [(known, sent) for known, sent in sealed]
        else:
            opened.append((name, value))
    return opened


def _form_scope(target: _SearchTarget) -> Sequence[object]:
    return [_FORM, target.path]


def _answer_plan(
    context: RequestContext, target: _SearchTarget, pairs: Pairs, limits: SearchLimits
) -> Response:
    """Answer `_explain` with the database's plan of the search, in the place of its page."""
    if target.resource_type == _ALL_TYPES:
        raise Invalid("`_explain` is for a search of one type.", issue_code="not-supported")
    store = context.gateway.store
    plan = search.explain_search(
        store,
        context.access,
        target.resource_type,
        [pair for pair in pairs if pair[0] != "_explain"],
        within=target.compartment,
        limits=limits,
    )
    lines = [{"name": "plan", "valueString": line} for line in plan]
    database = {"name": "database", "valueCode": store.dialect}
    return json_response({"resourceType": "Parameters", "parameter": [database, *lines]})
