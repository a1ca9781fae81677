"""Searches over HTTP: the form of the answer, addresses, links."""

from __future__ import annotations

import pytest

from ehr_fhir.search.filters import MAX_VALUES
from tests.lib.gateway import House

# A parameter of each way to compare, and a value that fits it.
PARAMETERS = (
    ("code", "718-7"),
    ("code:not", "718-7"),
    ("_id", "lab-1"),
    ("_lastUpdated", "ge2026"),
    ("date", "ge2026"),
    ("subject", "Patient/pat-1"),
    ("subject.name", "a"),
    ("code-value-quantity", "718-7$gt1"),
    ("value-quantity", "gt1"),
)


def test_a_search_serves_parts_of_resources_and_says_so(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    summary = hospital.get("Observation?_summary=true&_include=Observation:encounter").json()
    some = hospital.get("Observation?_elements=subject&_include=Observation:encounter").json()

    marked = [
        any(tag["code"] == "SUBSETTED" for tag in one["resource"]["meta"].get("tag", ()))
        for one in (*summary["entry"], *some["entry"])
    ]
    assert marked == [True] * 4 + [True] * 3 + [False]
    assert "effectiveDateTime" in summary["entry"][0]["resource"]
    assert "effectiveDateTime" not in some["entry"][0]["resource"]


def test_a_compartment_is_searched_at_its_own_address(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    page = hospital.get("Patient/pat-1/Observation?category=laboratory&_count=1").json()
    again = hospital.get(next(one["url"] for one in page["link"] if one["relation"] == "next"))
    form = hospital.request(
        "POST", "Patient/pat-1/Observation/_search", data={"category": "laboratory"}
    )

    assert page["link"][0]["url"].endswith(
        "/fhir/Patient/pat-1/Observation?category=laboratory&_count=1"
    )
    ids = [one["resource"]["id"] for one in (*page["entry"], *again.json()["entry"])]
    assert ids == [one["resource"]["id"] for one in form.json()["entry"]] == ["lab-1", "lab-2"]
    assert "entry" not in hospital.get("Patient/pat-2/Observation").json()


def test_a_compartment_of_no_type_is_refused(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    assert hospital.get("Patient/pat-1/Foo").status_code == 404
    assert hospital.get("Patient/pat-1/AuditEvent").status_code == 404
    platform = furnished.system("ehr-commons")
    assert platform.get("Patient/pat-1/_history").json()["type"] == "history"


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_a_parameter_takes_many_values_up_to_a_stated_number(
    furnished: House, name: str, value: str
) -> None:
    doctor = furnished.login("doctor.a")

    most = doctor.request(
        "POST", "Observation/_search", data={name: ",".join([value] * MAX_VALUES)}
    )
    more = doctor.request(
        "POST", "Observation/_search", data={name: ",".join([value] * (MAX_VALUES + 1))}
    )

    assert most.status_code == 200
    assert (more.status_code, more.json()["issue"][0]["code"]) == (413, "too-costly")


def test_a_read_serves_a_part_too(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    summary = hospital.get("Observation/lab-1?_summary=true").json()
    some = hospital.get("Observation/lab-1/_history/1?_elements=subject").json()

    assert [tag["code"] for one in (summary, some) for tag in one["meta"]["tag"]] == [
        "SUBSETTED",
        "SUBSETTED",
    ]
    assert "effectiveDateTime" in summary and "effectiveDateTime" not in some
    for query in ("_summary=count", "_elements=foo", "_summary=yes", "code=1"):
        assert hospital.get(f"Observation/lab-1?{query}").status_code == 400
    assert hospital.get("Observation/lab-1?_summary=false").json()["meta"].get("tag") is None
