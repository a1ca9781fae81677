"""Rules of period and author leave demographics open, and what names nobody where it may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import House, condition, organization, restriction

RULES: dict[str, dict[str, Any]] = {
    "a period": {"dataPeriod": {"start": "2020-01-01"}},
    "a practitioner": {
        "data": [{"meaning": "authoredby", "reference": {"reference": "Practitioner/yu"}}]
    },
    "the organisation that wrote it": {
        "data": [{"meaning": "authoredby", "reference": {"reference": "Organization/ehr-commons"}}]
    },
    "an episode": {"data": [{"meaning": "related", "reference": {"reference": "Encounter/enc-1"}}]},
}


def role(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "PractitionerRole",
        "id": "yu-at-a",
        "practitioner": {"reference": "Practitioner/yu"},
        "organization": {"reference": "Organization/hospital-a"},
        **more,
    }


@pytest.fixture
def house(furnished: House) -> House:
    furnished.share()
    platform = furnished.system("ehr-commons")
    platform.store({"resourceType": "Practitioner", "id": "yu"})
    platform.store(organization("ehr-commons"))
    return furnished


@pytest.mark.parametrize("rule", RULES)
def test_demographics_stay_open(house: House, rule: str) -> None:
    house.login("p.pat-1").store(restriction("close-1", **RULES[rule]))
    doctor = house.login("doctor.b")

    assert doctor.get("Patient/pat-1").status_code == 200
    assert "Patient/pat-1" in doctor.ids("Patient?_id=pat-1")


@pytest.mark.parametrize("person", ["yu", None])
def test_a_person_belongs_to_an_organisation_by_account(house: House, person: str | None) -> None:
    """Also once they have left it: an account has no dates."""
    house.login("p.pat-1").store(restriction("close-1", **RULES["a practitioner"]))
    house.system("hospital-a").store(condition("con-9", "enc-1"))
    doctor = house.login("doctor.b")
    assert doctor.get("Condition/con-9").status_code == 200
    account = Account("dr.yu" if person else "yu", "clinician", "Yu", "hospital-b", person=person)
    database = house.gateway.store.database

    accounts.add_account(database, account)
    assert doctor.get("Condition/con-9").status_code == 200
    accounts.add_account(database, replace(account, organization="hospital-a"))
    for _ in range(2):
        assert doctor.get("Condition/con-9").status_code == 404
        assert "Condition/con-9" not in doctor.ids("Condition?patient=pat-1")
        accounts.add_account(database, account)
    # What names another is not theirs.
    recorder = {"reference": "Practitioner/yu-2"}
    house.system("ehr-commons").store({"resourceType": "Practitioner", "id": "yu-2"})
    body = {**condition("con-8", "enc-1"), "recorder": recorder}
    house.system("hospital-a").store(body)
    assert doctor.get("Condition/con-8").status_code == 200


def test_a_record_that_names_nobody_is_closed_if_the_person_works_for_its_author(
    house: House,
) -> None:
    house.login("p.pat-1").store(restriction("close-1", **RULES["a practitioner"]))
    house.system("hospital-a").store(condition("con-9", "enc-1"))
    doctor, platform = house.login("doctor.b"), house.system("ehr-commons")
    seen = []

    for stored in (None, role(), role(active=False), role(period={"end": "2020-12-31"}), role()):
        if stored:
            platform.store(stored)
        seen.append(doctor.get("Condition/con-9").status_code)
    assert platform.delete("PractitionerRole/yu-at-a").status_code < 300
    seen.append(doctor.get("Condition/con-9").status_code)

    # Without a date of its own it may be of any term.
    assert seen == [200, 404, 200, 404, 404, 200]
