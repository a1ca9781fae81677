"""Search over HTTP: GET with parameters, or POST _search with a form (R4 §3.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, NotFound, operation_outcome
from ehr_fhir.subset import Subset
from ehr_gateway import audit
from ehr_gateway.body import form_pairs
from ehr_gateway.bundle_bytes import bundle, entry, link
from ehr_gateway.caller import Asking, TheAsking
from ehr_gateway.interactions import search
from ehr_gateway.negotiation import GENERAL, fhir_response, preferences
from ehr_gateway.query_pairs import query_pairs
from ehr_gateway.store import Version

router = APIRouter(prefix="/fhir")
_NOT_YET = "not-supported"
# It has a search of its own.
_LOG = "AuditEvent"
Form = Annotated[list[tuple[str, str]], Depends(form_pairs)]


@router.api_route("/{resource_type}", methods=["GET", "HEAD"])
def search_type(asking: TheAsking, resource_type: str) -> Response:
    """Search one resource type."""
    return _search(asking, resource_type, query_pairs(asking.request))


@router.post("/{resource_type}/_search")
def post_search(asking: TheAsking, resource_type: str, form: Form) -> Response:
    """Search one resource type by a form, whose values stay out of addresses and their logs."""
    pairs = [pair for pair in form if pair[0] not in GENERAL]
    return _search(asking, resource_type, [*query_pairs(asking.request), *pairs])


@router.api_route("/Patient/{logical_id}/{resource_type}", methods=["GET", "HEAD"])
def search_compartment(asking: TheAsking, logical_id: str, resource_type: str) -> Response:
    """Search one resource type in one patient's record."""
    return _search(asking, resource_type, query_pairs(asking.request), logical_id)


@router.post("/Patient/{logical_id}/{resource_type}/_search")
def post_search_compartment(
    asking: TheAsking, logical_id: str, resource_type: str, form: Form
) -> Response:
    """Search one resource type in one patient's record by a form."""
    pairs = [pair for pair in form if pair[0] not in GENERAL]
    return _search(asking, resource_type, [*query_pairs(asking.request), *pairs], logical_id)


def _search(
    asking: Asking,
    resource_type: str,
    pairs: list[tuple[str, str]],
    patient: str | None = None,
) -> Response:
    prefer = preferences(asking.request)
    within = f"Patient/{patient}/" if patient is not None else ""
    if patient is not None and resource_type == "*":
        raise Invalid("Ask for one resource type; `*` is not served yet.", issue_code=_NOT_YET)
    if resource_type not in definitions.resource_types() or (patient and _LOG == resource_type):
        raise NotFound("The address names no resource type of FHIR R4.")
    query = f"{within}{resource_type}?" + "&".join(name[:64] for name, _ in pairs)
    occasion = asking.occasion("search-type", query)
    page = search.search(
        asking.gateway.store,
        asking.access,
        resource_type,
        pairs,
        patient=patient,
        lenient=prefer.lenient,
    )
    with asking.gateway.store.writing() as connection:
        audit.record_disclosure(connection, occasion, [*page.matches, *page.included])
    cursor = [pair for pair in pairs if pair[0] == "_cursor"]
    body = search_bundle(
        asking.gateway.settings.fhir_base, resource_type, page, cursor, within=within
    )
    return fhir_response(body, pretty=prefer.pretty)


def search_bundle(
    base: str,
    resource_type: str,
    page: search.SearchPage,
    cursor: Sequence[tuple[str, str]] = (),
    within: str = "",
) -> bytes:
    """Return the bytes of a searchset; `cursor` is the parameter by which this page was asked."""
    address = f"{base}/{within}{resource_type}"
    links = [("self", link(address, [*page.self_pairs, *cursor]))]
    if page.next_cursor is not None:
        links.append(("next", link(address, [*page.self_pairs, ("_cursor", page.next_cursor)])))
    entries = [
        entry(f"{base}/{version.type}/{version.id}", _part(page.subset, version, mode), mode=mode)
        for mode, versions in (("match", page.matches), ("include", page.included))
        for version in versions
    ]
    if page.issues:
        outcome = operation_outcome(Invalid("", issues=page.issues))
        entries.append(entry(None, orjson.dumps(outcome), mode="outcome"))
    return bundle("searchset", entries, total=page.total, links=links)


def _part(subset: Subset | None, version: Version, mode: str) -> bytes:
    # `_elements` names elements of the type searched; what comes along has others.
    if subset is None or (mode == "include" and subset.elements):
        return version.body
    return subset.of(version.body)
