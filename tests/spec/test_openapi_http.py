"""The OpenAPI document describes what is served; whatever is made from it leads to no fault."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings

from ehr_fhir import definitions
from tests.lib.gateway import House
from tests.lib.serving import Served, served

__all__ = ["served"]

PARTS = r"^/(Observation|Consent)(/|$)|^/(_history|metadata)?$"


def test_nothing_made_from_the_document_leads_to_a_fault(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.token('doctor.a')}"}
    # The addresses of every type are made by the same lines; two types are enough.
    document = schemathesis.openapi.from_url(f"{served.fhir}/openapi.json")
    operations: Any = document.include(path_regex=PARTS).get_all_operations()
    called = [probe(operation.ok(), headers) for operation in operations]

    assert len(called) == 29


def probe(operation: Any, headers: dict[str, str]) -> str:
    """Send made-up requests of one operation; return which it is."""

    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        answer = case.call(headers=headers)
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        if answer.status_code >= 400:
            assert answer.json()["resourceType"] == "OperationOutcome"

    send()
    return f"{operation.method} {operation.path}"


def test_every_type_and_its_search_parameters_are_described(furnished: House) -> None:
    document = furnished.client.get("/fhir/openapi.json").json()

    described = {path.split("/")[1] for path in document["paths"]}
    assert definitions.resource_types() - {"AuditEvent"} <= described
    names = {one.get("name") for one in document["paths"]["/Patient"]["get"]["parameters"]}
    assert {"birthdate", "identifier", "_lastUpdated"} <= names
    assert document["servers"] == [{"url": "http://testserver/fhir"}]
