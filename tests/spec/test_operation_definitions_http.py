"""OperationDefinitions say what the declarations say, and are found where the statement says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from ehr_gateway.conformance.operation_definitions import build_operation_definitions
from tests.docs.operation_pages import PAGES
from tests.lib.gateway import BASE, House, must
from tests.lib.hl7_validator import run_hl7_validator
from tests.lib.us_core import read_us_core

FHIR = f"{BASE}/fhir"


def _listed(house: House) -> dict[str, str]:
    """Return the definitions that the CapabilityStatement lists, and the name of each."""
    rest = house.client.get("/fhir/metadata").json()["rest"][0]
    parts = [rest, *rest["resource"]]
    return {one["definition"]: one["name"] for part in parts for one in part.get("operation", ())}


def test_each_address_of_the_statement_leads_to_a_sound_definition_and_none_lies_elsewhere(
    house: House,
) -> None:
    listed, doctor = _listed(house), house.login("doctor.b")

    for address, name in listed.items():
        definition = must(house.client.get(address.removeprefix(BASE))).json()
        assert (definition["url"], definition["code"]) == (address, name)
        checked = doctor.post("/fhir/OperationDefinition/$validate", definition).json()
        assert [
            one["diagnostics"] for one in checked["issue"] if one["severity"] != "information"
        ] == []

    served = house.client.get("/fhir/OperationDefinition?_count=1000").json()
    assert {one["resource"]["url"] for one in served["entry"]} == set(listed)
    assert served["total"] == len(listed)


def test_a_standard_operation_names_its_standard_by_type(house: House) -> None:
    def base(identity: str) -> Any:
        return house.client.get(f"/fhir/OperationDefinition/{identity}").json()["base"]

    assert base("Patient-everything") == (
        "http://hl7.org/fhir/OperationDefinition/Patient-everything"
    )
    assert base("Group-export") == (
        "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"
    )
    guide = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"
    assert house.client.get("/fhir/metadata").json()["instantiates"] == [guide]
    assert base("validate") == "http://hl7.org/fhir/OperationDefinition/Resource-validate"


def test_they_are_found_by_name_code_url_and_level(house: House) -> None:
    def found(query: str) -> list[str]:
        page = must(house.client.get(f"/fhir/OperationDefinition?{query}")).json()
        return [one["resource"]["id"] for one in page.get("entry", ())]

    everything = ["Encounter-everything", "Patient-everything"]
    assert found("code=everything") == everything
    assert found("name=patientev") == everything[1:]
    assert found("name:exact=patientev") == []
    assert found("name:contains=Everything") == everything
    assert found(f"url={FHIR}/OperationDefinition/withheld,{FHIR}/OperationDefinition/hold") == [
        "hold",
        "withheld",
    ]
    assert found("code=export&system=true") == ["export"]
    assert found("_id=nobody") == []
    form = {"code": "everything", "_count": "1"}
    page = house.client.post("/fhir/OperationDefinition/_search", data=form).json()
    second = house.client.get(page["link"][1]["url"].removeprefix(BASE)).json()
    assert (page["total"], [one["resource"]["id"] for one in second["entry"]]) == (
        2,
        everything[1:],
    )
    assert house.client.get("/fhir/OperationDefinition?colour=red").status_code == 400


def test_what_an_operation_answers_is_what_the_example_of_its_page_answers() -> None:
    for definition in build_operation_definitions(FHIR).values():
        page = (PAGES / f"{definition['code']}.md").read_text("utf-8")
        answers = re.findall(r"```json\n(.*?)\n```", page, re.S)
        answer = orjson.loads(answers[0]) if answers else None
        kind = answer.get("resourceType") if isinstance(answer, dict) else None
        outputs = [one["type"] for one in definition["parameter"] if one["use"] == "out"]
        if kind is not None and outputs:
            assert outputs == [kind], definition["id"]


def test_nobody_stores_one_of_their_own_and_a_bundle_reaches_none(house: House) -> None:
    platform = house.system("ehr-commons")
    body = build_operation_definitions(FHIR)["withheld"]
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": "OperationDefinition/withheld"}}],
    }

    put = platform.request("PUT", "/fhir/OperationDefinition/withheld", json=body)

    assert put.status_code == 422
    assert platform.post("/fhir", batch).status_code == 422


@pytest.mark.slow
def test_hl7s_validator_accepts_them(shared_data: Path, tmp_path: Path) -> None:
    definitions = build_operation_definitions(FHIR)

    found = run_hl7_validator(read_us_core(shared_data), definitions, tmp_path)

    faults = {
        name: errors
        for name, messages in found.items()
        if (errors := [one for one in messages if one["severity"] in ("error", "fatal")])
    }
    assert faults == {}
