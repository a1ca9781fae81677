"""Every address that wants a token leaves an event, whatever comes of the request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_gateway.routes.table import FHIR_ROUTES
from tests.lib.gateway import House, Session

# What serves no record and needs no token; with one it is on record all the same.
OPEN = {
    "/fhir/metadata", "/fhir/openapi.json", "/fhir/.well-known/smart-configuration",
    "/fhir/.well-known/user-access-brands.json",
}  # fmt: skip
VALUES = {
    "resource_type": "Observation",
    "owner": "Patient",
    "logical_id": "lab-1",
    "version_id": "1",
}


def addresses(routes: Any) -> Iterator[tuple[str, str]]:
    """Yield method and path of each route of the FHIR service and the feed."""
    for route in routes:
        # A router that was included gives its routes when it is asked for them.
        if hasattr(route, "effective_route_contexts"):
            yield from addresses(route.effective_route_contexts())
            continue
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None)
        if path.startswith(("/fhir", "/feed")) and path not in OPEN:
            for method in sorted(set(methods or ()) - {"HEAD", "OPTIONS"}):
                yield method, path


def filled(path: str) -> str:
    return re.sub(r"{(\w+)(:\w+)?}", lambda found: VALUES.get(found[1], "x"), path)


def events_of(house: House, request: str) -> int:
    house.gateway.audit_batcher.flush()
    with house.gateway.store.read_transaction() as connection:
        sql = "SELECT count(*) FROM audit WHERE request_id = ?"
        return int(connection.execute(sql, (request,)).fetchone()[0])


def ask(session: Session, method: str, path: str, request: str) -> int:
    headers = {"X-Request-Id": request, "Content-Type": "application/fhir+json"}
    content = None if method == "GET" else b"{}"
    answer = session.request(method, path, headers=headers, content=content)
    return int(answer.status_code)


@pytest.mark.parametrize("login", ["doctor.a", "steward", "p.pat-1"])
def test_every_route_leaves_an_event_for_everyone(furnished: House, login: str) -> None:
    session, silent, asked = furnished.login(login), [], 0
    for number, (method, path) in enumerate(addresses([*furnished.app.routes, *FHIR_ROUTES])):
        request = f"request-{login.replace('.', '')}-{number:04}"
        status = ask(session, method, filled(path), request)
        asked += 1
        if not events_of(furnished, request):
            silent.append((method, path, status))

    assert asked > 20
    assert silent == []


def test_who_reads_the_capabilities_with_a_token_is_on_record(furnished: House) -> None:
    headers = {"X-Request-Id": "request-metadata"}
    answers = [
        furnished.login("doctor.a").get("metadata", headers=headers),
        furnished.client.get("/fhir/metadata", headers=headers),
        furnished.client.get(
            "/fhir/metadata", headers={**headers, "Authorization": "Bearer no-token"}
        ),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert events_of(furnished, "request-metadata") == 1


def test_a_request_without_a_good_token_leaves_none(furnished: House) -> None:
    answer = furnished.client.get(
        "/fhir/Observation/lab-1", headers={"X-Request-Id": "request-nobody"}
    )

    assert answer.status_code == 401
    assert events_of(furnished, "request-nobody") == 0
