"""An operation that is not there says so; a method that is not taken is told which are."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_gateway.operations.registry import OPERATIONS, operation_names
from ehr_gateway.routes.table import FHIR_ROUTES
from tests.lib.gateway import House

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PLACES = {"system": "", "type": "Patient/", "instance": "Patient/pat-1/"}
# Operations of R4, and names that nobody has.
ABSENT = ("graph", "frobnicate", "lookup", "expand", "x", "é", "a%2Fb", "$")


@pytest.fixture
def database() -> str:
    """Name one database: what is not there is asked of none."""
    return "sqlite"


def refuses(answer: Any, name: str) -> bool:
    """Say whether an answer is that there is no such operation."""
    issue = answer.json()["issue"][0]
    return (
        answer.status_code == 404
        and issue["code"] == "not-supported"
        and f"${name}"[:65] in issue["diagnostics"]
    )


@pytest.mark.parametrize("level", PLACES)
@pytest.mark.parametrize("name", [*ABSENT[:-2], "x" * 2000])
def test_an_operation_that_is_not_there_is_named_with_those_that_are(
    furnished: House, level: Any, name: str
) -> None:
    doctor = furnished.login("doctor.a")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for query in ("", "?_count=1"):
            answer = doctor.request(method, f"{PLACES[level]}${name}{query}")
            assert refuses(answer, name), (method, answer.text)
            for there in operation_names(level, "Patient"):
                assert f"${there}" in answer.json()["issue"][0]["diagnostics"]


def test_every_type_answers_so(furnished: House) -> None:
    client = furnished.login("doctor.a")
    for kind in definitions.resource_types():
        for address in (f"{kind}/$convert", f"{kind}/x/$graph"):
            assert refuses(client.get(address), address.rpartition("$")[2]), address
            assert refuses(client.post(address, {}), address.rpartition("$")[2]), address


def test_an_operation_is_absent_at_another_level_than_its_own(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    asked = 0
    for operation in OPERATIONS:
        for level, place in PLACES.items():
            if operation.name in operation_names(level, "Patient"):  # type: ignore[arg-type]
                continue
            method = operation.declaration.methods[0]
            assert refuses(doctor.request(method, f"{place}${operation.name}"), operation.name)
            asked += 1
    assert asked > 20


def test_an_operation_is_called_by_its_own_method(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    for operation in OPERATIONS:
        for _, _, path in operation.declaration.paths():
            address = path.format(resource_type="Observation", patient="pat-1", logical_id="x")
            taken = operation.declaration.methods
            for method in set(METHODS) - set(taken):
                answer = doctor.request(method, address)
                assert answer.status_code == 405, (method, address)
                assert answer.headers["Allow"] == ", ".join(taken)


def test_a_path_that_is_no_address_is_none_by_an_operation(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    for address in ("Nothing/$x", "Patient/p/x/$y", "Patient/$x/y", "Patient/$x/_history", "$x/y"):
        answer = doctor.get(address)
        assert answer.status_code == 404, address
        assert "nothing at this address" in answer.json()["issue"][0]["diagnostics"], address


def test_a_bundle_calls_no_operation_that_is_absent_or_changes_something(
    furnished: House,
) -> None:
    absent = ("Patient/$graph", "$export", "Patient/$x?a=$b", "Patient/pat-1/$request-access")
    requests = [{"method": method, "url": url} for url in absent for method in ("GET", "POST")]
    requests += [{"method": "POST", "url": "Patient/pat-1/$withheld"}]
    entries = [{"request": request} for request in requests]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}

    answers = furnished.login("doctor.a").post("", bundle).json()["entry"]

    for answer in answers:
        assert answer["response"]["status"] == "404 Not Found"
        assert answer["response"]["outcome"]["issue"][0]["code"] == "not-supported"


def addresses() -> list[str]:
    """Return one address of every route, FHIR's and the others, with and without criteria."""
    values = {
        "resource_type": "Observation", "logical_id": "x", "version_id": "1", "owner": "Patient",
        "number": "0", "page": "1", "name": "1",
    }  # fmt: skip
    fhir = {route.path.format_map(defaultdict(lambda: "x", values)) for route in FHIR_ROUTES}
    audit_log = {"/fhir/AuditEvent/x", "/fhir/Patient/metadata"}
    other = {
        "/feed", "/healthz", "/readyz", "/metrics", "/oauth/token", "/oauth/authorize",
        "/oauth/login", "/oauth/register", "/oauth/register/x", "/oauth/accounts", "/oauth/jwks",
        "/oauth/logout", "/oauth/account", "/oauth/approve", "/oauth/static/ehr.css",
        "/fhir/.well-known/smart-configuration", "/oauth/.well-known/openid-configuration",
    }  # fmt: skip
    return sorted({*fhir, *audit_log, *other, *(f"{path}?code=x" for path in fhir)})


@pytest.mark.parametrize("address", addresses())
def test_allow_names_exactly_the_methods_that_are_taken(furnished: House, address: str) -> None:
    client = furnished.system("hospital-a")
    answers = {method: client.request(method, address) for method in METHODS}

    refused = {method for method, answer in answers.items() if answer.status_code == 405}
    assert {"TRACE", "PROPFIND"} <= refused
    for method in refused:
        allowed = set(re.split(", *", answers[method].headers["Allow"]))
        assert allowed == set(METHODS) - refused, (method, address)


def test_the_audit_log_has_no_history(furnished: House) -> None:
    auditor = furnished.login("auditor")
    for address in ("AuditEvent/_history", "AuditEvent/x/_history", "AuditEvent/x/_history/1"):
        answer = auditor.get(address)
        assert answer.status_code == 404, answer.text
