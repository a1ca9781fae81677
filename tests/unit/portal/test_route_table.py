"""Made from the route table: who may open what, forged forms, redirects, log-out, hostile texts."""

from __future__ import annotations

import inspect
import json
import re
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import pytest
from fastapi import params
from fastapi.testclient import TestClient

from ehr_fhir.errors import Forbidden, Unauthorized
from ehr_portal.pages import load_router
from ehr_portal.record.descriptions import described_types
from ehr_portal.web.sessions import User
from tests.lib.full_resource import FullResource
from tests.lib.portal_house import PEOPLE, PortalHouse
from tests.lib.portal_routes import VARIABLES, routes

WHO = sorted(PEOPLE)
# Of nobody in particular: the log-in itself and how pages look.
OPEN = {
    "/",
    "/login",
    "/callback",
    "/display",
    "/display/save",
    "/language/{tag}",
    "/style",
    "/help",
    "/help/{key}",
    "/open-data",
    "/open-data/{dataset}",
    "/open-data/{dataset}/rows",
    "/open-data/{dataset}/{file}",
}
POSTS = [path for method, path in routes() if method == "POST"]
HOSTILE = ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)")
MARK = "<script>x</script><img src=x onerror=y>\"'>"


def endpoints() -> dict[tuple[str, str], Any]:
    """Return the function of each route."""
    return {
        (method, path): endpoint
        for path, methods, endpoint in _endpoints(load_router())
        for method in methods
        if method in ("GET", "POST")
    }


def _endpoints(router: Any) -> list[tuple[str, set[str], Any]]:
    found = []
    for route in router.routes:
        if hasattr(route, "path"):
            found.append((route.path, set(route.methods or ()), route.endpoint))
        else:
            found += _endpoints(route.original_router)
    return found


ENDPOINTS = endpoints()


def may_open(endpoint: Any, who: str) -> bool:
    """Say whether the type of a route's `request` lets a member of the cast in."""
    hints = get_type_hints(endpoint, include_extras=True)
    person = PEOPLE[who]
    user = User(person["display"], "", person["role"], None, person.get("patient"), "")
    for name in inspect.signature(endpoint).parameters:
        for depends in get_args(hints[name])[1:]:
            if isinstance(depends, params.Depends) and depends.dependency is not None:
                if inspect.iscoroutinefunction(depends.dependency):
                    # Those that wait read the form: they know no role.
                    continue
                request: Any = SimpleNamespace(user=user, user_or_none=user)
                try:
                    depends.dependency(request)
                except (Forbidden, Unauthorized):
                    return False
                except (AttributeError, TypeError):
                    # Of the form or of anybody: they know no role.
                    continue
    return True


def call(browser: TestClient, method: str, path: str, **data: str) -> Any:
    """Call a route with ids of the cast in its places."""
    return browser.request(method, path.format_map(VARIABLES), data=data or None)


@pytest.fixture(scope="module")
def houses() -> dict[str, PortalHouse]:
    """Return a portal for each member of the cast, logged in."""
    found = {}
    for who in WHO:
        found[who] = PortalHouse()
        found[who].log_in(who)
    return found


# What the frame of every page asks: names of codes, and how many notices are new.
_FRAME = ("/CodeSystem", "/$unread-notices", "/$acting-for")


def asked_since(house: PortalHouse, number: int) -> list[str]:
    """Return what was asked of the gateway beside what the frame of a page asks."""
    paths = [request.url.path for request in house.fake.asked[number:]]
    return [path for path in paths if not path.endswith(_FRAME)]


def sent_since(house: PortalHouse, number: int) -> list[str]:
    """Return what was sent to the gateway that may change something there."""
    return [
        f"{request.method} {request.url.path}"
        for request in house.fake.asked[number:]
        if request.method != "GET" and not request.url.path.endswith("/_search")
    ]


@pytest.mark.parametrize(("method", "path"), sorted(ENDPOINTS))
def test_each_role_that_a_route_does_not_name_is_refused_before_anything_is_asked(
    houses: dict[str, PortalHouse], method: str, path: str
) -> None:
    refused = [who for who in WHO if not may_open(ENDPOINTS[method, path], who)]
    if path not in OPEN:
        # A researcher has no page of the record, and nobody has all.
        assert refused or path == "/logout", "Every page of a role is refused to another."
    for who in refused:
        house = houses[who]
        number = len(house.fake.asked)
        answer = call(house.browser, method, path)
        assert answer.status_code == 403, (who, answer.status_code)
        assert asked_since(house, number) == [], who


@pytest.mark.parametrize(("method", "path"), sorted(ENDPOINTS))
def test_nobody_gets_further_than_the_front_page_without_a_log_in(method: str, path: str) -> None:
    if path in OPEN or path.startswith("/static"):
        pytest.skip("For anybody.")
    house = PortalHouse()

    answer = call(house.browser, method, path)

    assert (answer.status_code, answer.headers.get("location")) == (303, "/?ended=1")
    assert house.fake.asked == []


@pytest.mark.parametrize("path", POSTS)
def test_a_forged_form_changes_nothing(houses: dict[str, PortalHouse], path: str) -> None:
    for who in WHO:
        if path in OPEN or not may_open(ENDPOINTS["POST", path], who):
            continue
        house = houses[who]
        session = _session(house)
        address = path.format_map(VARIABLES)
        right, other = session.csrf_token(address), session.csrf_token("/elsewhere")
        forged: list[tuple[dict[str, str], dict[str, str]]] = [
            ({}, {}),
            ({"csrf": ""}, {}),
            ({"csrf": other}, {}),
            ({"csrf": right}, {"origin": "https://evil.example"}),
            ({"csrf": right}, {"origin": "null"}),
        ]
        for data, headers in forged:
            number = len(house.fake.asked)
            answer = house.browser.post(address, data=data, headers=headers)
            assert answer.status_code == 403, (who, data, headers)
            assert sent_since(house, number) == [], (who, data, headers)


# What a form says by being sent at all: an account's log-out, a draft that is thrown away.
CONSENTS = ("share-st-b", "joining-1")
SAYS_NOTHING_MORE = re.compile("/remove$|/discard$|/mark")


@pytest.mark.parametrize("path", [path for path in POSTS if path not in OPEN])
def test_a_form_that_says_nothing_chooses_nothing(path: str) -> None:
    for who in WHO:
        if not may_open(ENDPOINTS["POST", path], who) or SAYS_NOTHING_MORE.search(path):
            continue
        house = PortalHouse()
        # A patient who shares with nobody and takes part in nothing: what opens would be seen.
        shared, joined = (house.fake.resources["Consent", name] for name in CONSENTS)
        shared["status"] = "inactive"
        house.fake.resources["Consent", "research"] = json.loads(
            json.dumps({**joined, "id": "research", "provision": {"type": "deny"}}).replace(
                '"joining"', '"research"'
            )
        )
        house.log_in(who)
        address = path.format_map(VARIABLES)
        token = _session(house).csrf_token(address)
        for chosen in ("", "neither"):
            names = ("to", "term", "choice", "outcome", "power", "mark", "list")
            data = {"csrf": token, "acting-for": "pat-1", **dict.fromkeys(names, chosen)}
            house.browser.post(address, data=data)
            written = [one for one in house.fake.written() if one["resourceType"] != "Parameters"]
            assert written == [], (who, path, chosen)


# Of the carer in person, whoever they act for.
OF_THE_CARER = {
    "/people/choose",
    "/people/accept",
    "/notices",
    "/logout",
    "/apps/end",
    "/display/save",
}


@pytest.mark.parametrize("path", [path for path in POSTS if path not in OF_THE_CARER | OPEN])
def test_a_form_opened_for_one_person_is_not_sent_for_another(path: str) -> None:
    if not may_open(ENDPOINTS["POST", path], "carer"):
        pytest.skip("Not of carers.")
    house = PortalHouse()
    house.log_in("carer")
    address = path.format_map(VARIABLES)
    token = _session(house).csrf_token(address)
    for opened_for in ({"acting-for": "pat-2"}, {"acting-for": ""}, {}):
        number = len(house.fake.asked)
        answer = house.browser.post(address, data={"csrf": token, **opened_for})
        assert answer.status_code == 409, (path, opened_for)
        assert "You act for another person now" in answer.text
        assert asked_since(house, number) == [], (path, opened_for)
    answer = house.browser.post(address, data={"csrf": token, "acting-for": "pat-1"})
    assert "You act for another person now" not in answer.text, path


def _session(house: PortalHouse) -> Any:
    cookie = next(one for one in house.browser.cookies.jar if "session" in one.name)
    return house.app.state.portal.sessions.load(cookie.value)


@pytest.mark.parametrize(("method", "path"), sorted(ENDPOINTS))
def test_no_route_redirects_to_another_origin(
    houses: dict[str, PortalHouse], method: str, path: str
) -> None:
    for who in WHO:
        if path in ("/logout", "/login", "/callback") or not may_open(ENDPOINTS[method, path], who):
            continue
        house = houses[who]
        address = path.format_map(VARIABLES)
        token = _session(house).csrf_token(address)
        for hostile in HOSTILE:
            names = ("back", "next", "to", "url", "return")
            answer = house.browser.request(
                method,
                address,
                params=dict.fromkeys(names, hostile),
                data=dict.fromkeys(names, hostile) | {"csrf": token} if method == "POST" else None,
            )
            place = answer.headers.get("location", "/")
            parts = urlsplit(place)
            assert not parts.netloc, (who, place)
            assert not parts.scheme, (who, place)
            assert place.startswith("/"), (who, place)
            assert not place.startswith(("//", "/\\")), (who, place)
            assert answer.headers["cache-control"] == "no-store" or path in OPEN, (who, path)


def test_after_log_out_the_old_cookie_opens_nothing() -> None:
    for who in WHO:
        house = PortalHouse()
        browser = house.log_in(who)
        cookies = {cookie.name: str(cookie.value) for cookie in browser.cookies.jar}
        token = _session(house).csrf_token("/logout")
        browser.post("/logout", data={"csrf": token})
        thief = house.new_browser()
        for name, value in cookies.items():
            thief.cookies.set(name, value)
        number = len(house.fake.asked)
        for method, path in sorted(ENDPOINTS):
            if path not in OPEN and may_open(ENDPOINTS[method, path], who):
                answer = call(thief, method, path)
                assert answer.headers.get("location") == "/?ended=1", (who, path)
        assert len(house.fake.asked) == number, who


def hostile(value: Any, key: str = "") -> Any:
    """Return a resource with markup in each of its texts; what the pages go by stays."""
    kept = ("resourceType", "id", "reference", "system", "code", "status", "url", "div", "data",
            "contentType", "unit")  # fmt: skip
    if isinstance(value, dict):
        return {name: hostile(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [hostile(part, key) for part in value]
    is_text = isinstance(value, str) and key not in kept
    return f"{value}{MARK}" if is_text and not re.match(r"\d{4}(-\d\d|$)|\d\d:", value) else value


@pytest.mark.parametrize("resource_type", described_types())
def test_no_text_of_a_record_becomes_markup_on_any_page(resource_type: str) -> None:
    resource = hostile(FullResource(resource_type, "pat-1").build())
    resource = {
        **resource,
        "id": "con-1",
        "meta": {"versionId": "1", "lastUpdated": "2026-11-21T08:00:00Z"},
        "subject": {"reference": "Patient/pat-1", "display": MARK},
        "patient": {"reference": "Patient/pat-1", "display": MARK},
    }
    for who in ("patient", "doctor"):
        house = PortalHouse()
        house.fake.resources = {key: hostile(found) for key, found in house.fake.resources.items()}
        house.fake.resources[resource_type, "con-1"] = resource
        browser = house.log_in(who)
        places = VARIABLES | {"resource_type": resource_type, "resource_id": "con-1"}
        seen = 0
        for (method, path), endpoint in sorted(ENDPOINTS.items()):
            if path in OPEN or "events" in path or method != "GET" or not may_open(endpoint, who):
                continue
            shown = browser.get(path.format_map(type(VARIABLES)(places)))
            if "text/html" not in shown.headers.get("content-type", ""):
                continue
            seen += "&lt;script&gt;x" in shown.text
            assert "<script>x" not in shown.text, (who, path)
            assert "<img src=x" not in shown.text, (who, path)
            assert "onerror=y" not in re.sub(r"&lt;.*?&gt;", "", shown.text), (who, path)
        assert seen, who
