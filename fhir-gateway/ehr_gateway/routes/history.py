"""History over HTTP, of a resource, a type and the whole store (R4 §3.1.0.12)."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_fhir.intervals import date_interval, instant
from ehr_gateway.bundle_bytes import bundle, entry, link
from ehr_gateway.caller import Asking, TheAsking
from ehr_gateway.interactions import history
from ehr_gateway.interactions.history import HistoryPage, Span
from ehr_gateway.negotiation import etag, fhir_response, preferences
from ehr_gateway.query_pairs import query_pairs
from ehr_gateway.routes.answers import disclose, known
from ehr_gateway.store import Version

router = APIRouter(prefix="/fhir")
_GET = ["GET", "HEAD"]
_STATUS = {"POST": "201", "PUT": "200", "PATCH": "200", "DELETE": "204"}
_PARAMETERS = frozenset({"_at", "_count", "_cursor", "_since"})


@dataclass(frozen=True)
class _Asked:
    pairs: list[tuple[str, str]]
    count: int | None
    cursor: str | None
    span: Span


@router.api_route("/_history", methods=_GET)
def history_of_system(asking: TheAsking) -> Response:
    """List the versions of every type."""
    occasion = asking.occasion("history-system")
    asked = _asked(asking)
    page = history.history_of_all(
        asking.gateway.store, asking.access, count=asked.count, cursor=asked.cursor, span=asked.span
    )
    disclose(asking, occasion, [version for version, _ in page.versions])
    return _answer(asking, "_history", asked, page)


@router.api_route("/{resource_type}/_history", methods=_GET)
def history_of_type(asking: TheAsking, resource_type: str) -> Response:
    """List the versions of a type."""
    known(resource_type)
    occasion = asking.occasion("history-type")
    asked = _asked(asking)
    page = history.history_of_all(
        asking.gateway.store,
        asking.access,
        resource_type,
        count=asked.count,
        cursor=asked.cursor,
        span=asked.span,
    )
    disclose(asking, occasion, [version for version, _ in page.versions])
    return _answer(asking, f"{resource_type}/_history", asked, page)


@router.api_route("/{resource_type}/{logical_id}/_history", methods=_GET)
def history_of_resource(asking: TheAsking, resource_type: str, logical_id: str) -> Response:
    """List the versions of a resource."""
    known(resource_type)
    occasion = asking.occasion("history-instance")
    asked = _asked(asking)
    page = history.history(
        asking.gateway.store,
        asking.access,
        resource_type,
        logical_id,
        count=asked.count,
        cursor=asked.cursor,
        span=asked.span,
    )
    disclose(asking, occasion, [version for version, _ in page.versions])
    return _answer(asking, f"{resource_type}/{logical_id}/_history", asked, page)


def _answer(asking: Asking, path: str, asked: _Asked, page: HistoryPage) -> Response:
    base = asking.gateway.settings.fhir_base
    links = [("self", link(f"{base}/{path}", asked.pairs))]
    if page.next_cursor is not None:
        rest = [pair for pair in asked.pairs if pair[0] != "_cursor"]
        links.append(("next", link(f"{base}/{path}", [*rest, ("_cursor", page.next_cursor)])))
    entries = (_entry(base, *one) for one in page.versions)
    body = bundle("history", entries, total=page.total, links=links)
    return fhir_response(body, pretty=preferences(asking.request).pretty)


def _entry(base: str, version: Version, method: str) -> bytes:
    address = f"{version.type}/{version.id}"
    response: dict[str, object] = {
        "status": _STATUS[method] if version.version > 1 or method != "PUT" else "201",
        "etag": etag(version.version),
        "lastModified": instant(version.last_updated_ms),
    }
    request = {"method": method, "url": version.type if method == "POST" else address}
    return entry(
        f"{base}/{address}",
        None if version.deleted else version.body,
        request=request,
        response=response,
    )


def _asked(asking: Asking) -> _Asked:
    # What cannot be served is refused before anything is read.
    preferences(asking.request)
    pairs = query_pairs(asking.request)
    given = dict(pairs)
    if len(given) != len(pairs) or set(given) - _PARAMETERS:
        raise Invalid("A history takes _since, _at, _count and _cursor, each once.")
    count = given.get("_count")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise Invalid("_count must be a whole number.")
    since = _interval("_since", given)
    span = Span(since[0] if since else None, _interval("_at", given))
    return _Asked(pairs, None if count is None else int(count), given.get("_cursor"), span)


def _interval(name: str, given: dict[str, str]) -> tuple[int, int] | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        # A plus sign in a query means a space; many clients forget to escape it in a time zone.
        return date_interval(text.replace(" ", "+"))
    except Invalid as error:
        raise Invalid(f"{name}: {error}") from None
