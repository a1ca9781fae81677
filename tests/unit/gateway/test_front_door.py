"""The one table of FHIR routes: which of them answers, and what is no address or no method."""

from __future__ import annotations

import pytest

from ehr_gateway.routes.route import Route, RouteTable
from ehr_gateway.routes.table import FHIR_ROUTES
from tests.lib.gateway import House

TABLE = RouteTable(FHIR_ROUTES)
GET = ("GET", "HEAD")


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/fhir", "/fhir"),
        ("POST", "/fhir/", "/fhir/"),
        ("GET", "/fhir/metadata", "/fhir/metadata"),
        # Every method that has no route of its own there is one on a type of that name.
        ("GET", "/fhir/Patient", "/fhir/{resource_type}"),
        ("HEAD", "/fhir/Patient/1", "/fhir/{resource_type}/{logical_id}"),
        ("GET", "/fhir/Patient/_history", "/fhir/{resource_type}/_history"),
        ("GET", "/fhir/Patient/AuditEvent", "/fhir/{resource_type}/{logical_id}"),
        ("GET", "/fhir/AuditEvent/1", "/fhir/AuditEvent/{logical_id}"),
        ("PUT", "/fhir/AuditEvent/1", "/fhir/{resource_type}/{logical_id}"),
        ("GET", "/fhir/Patient/1/Observation", "/fhir/{owner}/{logical_id}/{resource_type}"),
        (
            "GET",
            "/fhir/Patient/1/_history/2",
            "/fhir/{resource_type}/{logical_id}/_history/{version_id}",
        ),
    ],
)
def test_the_first_route_that_takes_method_and_path_answers(
    method: str, path: str, route: str
) -> None:
    found = TABLE.find(method, path)

    assert found is not None
    assert found.path == route


@pytest.mark.parametrize(
    "path", ["/fhir//", "/fhir/Patient/", "/fhir/Patient//_history", "/fhir/a/b/c/d/e", "/fhir/$x"]
)
def test_a_segment_without_a_value_names_nothing(path: str) -> None:
    assert TABLE.find("GET", path) is None
    assert TABLE.allowed_methods(path) == ()


def test_the_variables_of_a_path_have_names() -> None:
    route = TABLE.find("GET", "/fhir/Patient/1/_history/2")

    assert route is not None
    assert route.path_params("/fhir/Patient/1/_history/2") == {
        "resource_type": "Patient", "logical_id": "1", "version_id": "2",
    }  # fmt: skip


def test_no_route_is_hidden_by_one_before_it() -> None:
    for number, route in enumerate(FHIR_ROUTES):
        for before in FHIR_ROUTES[:number]:
            same = before.matches(tuple(None if "{" in one else one for one in route.segments))
            assert not (same and set(before.methods) & set(route.methods)), route.path


def test_a_method_that_is_not_taken_is_told_which_are(house: House) -> None:
    client = house.client

    for path, allowed in (
        ("/fhir/Patient?name=x", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("/fhir/Patient", "GET, HEAD, POST"),
        ("/fhir/Patient/1/_history", "GET, HEAD"),
        ("/fhir", "GET, HEAD, POST"),
    ):
        answer = client.request("TRACE", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
        assert answer.json()["resourceType"] == "OperationOutcome"


def test_an_encoded_slash_parts_segments_as_a_plain_one_does(house: House) -> None:
    platform = house.system("ehr-commons")

    assert platform.get("/fhir/Organization%2Fnone").status_code == 404
    assert platform.get("/fhir/Organi%7Aation").status_code == 200


def test_discovery_beside_the_resource_types_is_not_fhirs(house: House) -> None:
    assert house.client.get("/fhir/.well-known/smart-configuration").status_code == 200
    assert house.client.put("/fhir/.well-known/smart-configuration").status_code == 405


def test_routes_of_one_path_join_their_methods() -> None:
    async def endpoint(*_: object) -> None: ...

    table = RouteTable([Route(GET, "/fhir/{type}", endpoint), Route(("PUT",), "/fhir/x", endpoint)])  # type: ignore[arg-type]

    assert table.allowed_methods("/fhir/x") == ("GET", "HEAD", "PUT")
    assert table.allowed_methods("/fhir/y") == ("GET", "HEAD")
