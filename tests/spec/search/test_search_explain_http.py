"""`_explain` over HTTP: how a search is carried out, for administrators."""

from __future__ import annotations

import base64

import pytest

from tests.lib.gateway import House

QUERY = "Patient?name=Chan&identifier=https://ehr-commons.hk/hkid|ZA1234560&_explain=true"


def test_an_administrator_sees_the_plan_and_no_value(furnished: House) -> None:
    answer = furnished.login("admin").get(QUERY)

    body = answer.json()
    assert body["resourceType"] == "Parameters"
    plan = [one["valueString"] for one in body["parameter"] if one["name"] == "plan"]
    assert any("idx_token" in line for line in plan)
    assert not any(word in answer.text.lower() for word in ("chan", "za1234560", "hkid"))


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "steward", "auditor"])
def test_nobody_else_does(furnished: House, login: str) -> None:
    answer = furnished.login(login).get(QUERY)

    assert answer.status_code == 403
    assert furnished.system("hospital-a").get(QUERY).status_code == 403


def test_several_types_have_no_one_plan(furnished: House) -> None:
    answer = furnished.login("admin").get("/fhir?_type=Patient,Organization&_explain=true")

    assert answer.status_code == 400


def test_what_an_administrator_looked_at_is_on_record(furnished: House) -> None:
    admin, auditor = furnished.login("admin"), furnished.login("auditor")

    admin.get(QUERY)

    (entry,) = auditor.get("AuditEvent?agent=admin").json()["entry"]
    (query,) = [one["query"] for one in entry["resource"]["entity"] if "query" in one]
    assert base64.b64decode(query).decode() == "Patient?name&identifier&_explain"
