"""The log is searched by an identity card number, which enters no address and no log."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session, must, patient

# As it is stored, as people write it, and with full-width digits.
WRITTEN = ("ZA123456(0)", "za1234560", "ZA 123456 0", "https://ehr-commons.hk/hkid|ZA123456(0)")


def found(session: Session, number: str, **more: str) -> set[str]:
    """Return the patients of the events that a search by number finds."""
    form = {"patient.identifier": number, **more}
    bundle = must(session.request("POST", "AuditEvent/_search", data=form)).json()
    return {
        entity["what"]["reference"]
        for entry in bundle.get("entry", [])
        for entity in entry["resource"]["entity"]
        if entity.get("what", {}).get("reference", "").startswith("Patient/")
    }


@pytest.mark.parametrize("number", WRITTEN)
@pytest.mark.parametrize("login", ["steward", "auditor"])
def test_a_number_is_resolved_however_it_is_written(
    furnished: House, number: str, login: str
) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))

    assert found(furnished.login(login), number) == {"Patient/pat-1"}


def test_two_patients_with_one_number_are_both_found(furnished: House) -> None:
    furnished.system("hospital-a").store(patient("twin", "ZA1234560"))

    assert found(furnished.login("steward"), WRITTEN[0]) == {"Patient/pat-1", "Patient/twin"}


def test_a_number_that_nobody_has_finds_nothing(furnished: House) -> None:
    assert found(furnished.login("steward"), "ZZ999999(9)") == set()


def test_the_links_and_the_log_hold_no_number(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    auditor = furnished.login("auditor")
    form = {"patient.identifier": WRITTEN[0], "_count": "1"}

    first = must(auditor.request("POST", "AuditEvent/_search", data=form))
    links = {link["relation"]: link["url"] for link in first.json()["link"]}
    second = must(auditor.get(links["next"]))

    assert "123456" not in first.text
    assert first.json()["entry"][0] != second.json()["entry"][0]
    own = must(furnished.login("steward").get("AuditEvent?agent=auditor"))
    assert "123456" not in own.text


def test_whoever_is_looked_up_sees_it(furnished: House) -> None:
    found(furnished.login("steward"), WRITTEN[0], date="lt2020-01-01")

    seen = must(furnished.login("p.pat-1").get("AuditEvent?agent=steward")).json()
    assert len(seen["entry"]) == 1


@pytest.mark.parametrize("login", ["p.pat-1", "p.pat-2"])
def test_nobody_else_searches_the_log_by_number(furnished: House, login: str) -> None:
    form = {"patient.identifier": WRITTEN[0]}

    answer = furnished.login(login).request("POST", "AuditEvent/_search", data=form)
    assert answer.status_code == 400


def test_a_patient_who_names_several_finds_their_own_alone(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    query = "AuditEvent?patient=pat-1,pat-2"

    for login in ("p.pat-1", "p.pat-2"):
        bundle = must(furnished.login(login).get(query)).json()
        about = {
            entity["what"]["reference"]
            for entry in bundle.get("entry", [])
            for entity in entry["resource"]["entity"][:1]
        }
        assert about <= {f"Patient/{login.removeprefix('p.')}"}
