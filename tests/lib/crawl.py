"""What a person's links lead to: one address for each route of the portal."""

from __future__ import annotations

import html
import re
from urllib.parse import urljoin, urlsplit

from starlette.routing import Match

from ehr_portal.pages import load_router
from tests.lib.people import Person

# They end or change something of the person's own session; the last is a page without our frame.
_LEFT = {
    "/login", "/callback", "/language/{tag}", "/display/save",
    "/models/{task}/versions/{number}/{name}",
}  # fmt: skip
_LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]+)"')
_ROUTES = [route for route in load_router().routes if "GET" in (route.methods or set())]  # type: ignore[attr-defined]


def page_routes() -> set[str]:
    """Return the patterns of the addresses that answer with a page, no document and no stream."""
    paths = {str(route.path) for route in _ROUTES} - _LEFT  # type: ignore[attr-defined]
    return {path for path in paths if "/attachment/" not in path and not path.endswith("/events")}


def route_of(path: str) -> str | None:
    """Return the pattern of the route that answers at a path.

    >>> route_of("/record/item/Observation/1"), route_of("/static/ehr.css")
    ('/record/item/{resource_type}/{resource_id}', None)
    """
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    for route in _ROUTES:
        if route.matches(scope)[0] is Match.FULL:
            return str(route.path)  # type: ignore[attr-defined]
    return None


def crawl(person: Person, *starts: str) -> dict[str, str]:
    """Follow a person's links from pages; return the first address of each route that is a page."""
    found: dict[str, str] = {}
    waiting = list(starts)
    while waiting:
        address = waiting.pop(0)
        pattern = route_of(urlsplit(address).path)
        if pattern is None or pattern in found or pattern in _LEFT:
            continue
        answer = person.context.request.get(f"{person.platform.address}{address}")
        if not answer.ok or "text/html" not in answer.headers["content-type"]:
            continue
        found[pattern] = urlsplit(answer.url)._replace(scheme="", netloc="").geturl()
        for link in _LINK.findall(answer.text()):
            target = urlsplit(urljoin(answer.url, html.unescape(link)))
            if f"{target.scheme}://{target.netloc}" == person.platform.address:
                waiting.append(target._replace(scheme="", netloc="", fragment="").geturl())
    return found
