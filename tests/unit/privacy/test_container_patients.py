"""Whose record a container is: nobody's by a mistaken id, and nobody's in doubt."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_privacy.consent import record_facts
from ehr_privacy.consent.container_patients import (
    RECORD_SUBJECT,
    patients_of_container,
    state_patients,
)

HERE = "http://here.example/fhir"
ELSEWHERE = "http://example.org/fhir"
URN = "urn:uuid:00000000-0000-4000-8000-000000000001"
PATIENT = {"resourceType": "Patient", "id": "p"}


def allergy(reference: str = "Patient/p", **more: Any) -> dict[str, Any]:
    body = {"resourceType": "AllergyIntolerance", "patient": {"reference": reference}}
    return {**body, **more}


def entry(resource: dict[str, Any], full_url: str | None = None) -> dict[str, Any]:
    return (
        {"resource": resource} if full_url is None else {"fullUrl": full_url, "resource": resource}
    )


def bundle(*entries: dict[str, Any], stated: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"resourceType": "Bundle", "id": "b", "type": "collection"}
    if stated:
        extension = {"url": RECORD_SUBJECT, "valueReference": {"reference": stated}}
        body["meta"] = {"extension": [extension]}
    return {**body, "entry": list(entries)}


@pytest.mark.parametrize(
    ("name", "container", "patients"),
    [
        ("no fullUrl", bundle(entry(PATIENT), entry(allergy())), {"p"}),
        ("a relative reference out of the container", bundle(entry(allergy())), {"p"}),
        ("a versioned one", bundle(entry(allergy("Patient/p/_history/3"))), {"p"}),
        ("a relative one under a urn", bundle(entry(allergy(), URN)), set()),
        ("elsewhere", bundle(entry(PATIENT, f"{ELSEWHERE}/Patient/p")), set()),
        (
            "elsewhere, named by a relative reference",
            bundle(
                entry(PATIENT, f"{ELSEWHERE}/Patient/p"),
                entry(allergy(), f"{ELSEWHERE}/AllergyIntolerance/a"),
            ),
            set(),
        ),
        (
            "relative from elsewhere, without an entry",
            bundle(entry(allergy(), f"{ELSEWHERE}/AllergyIntolerance/a")),
            set(),
        ),
        ("an address elsewhere", bundle(entry(allergy(f"{ELSEWHERE}/Patient/p"))), set()),
        ("a urn", bundle(entry(PATIENT, URN), entry(allergy(URN))), set()),
        ("a urn, named by type and id", bundle(entry(PATIENT, URN), entry(allergy(), URN)), set()),
        ("a urn that leads nowhere", bundle(entry(allergy(URN))), set()),
        ("a name alone", bundle(entry(allergy(patient={"display": "Ann"}))), set()),
        ("known and unknown", bundle(entry(allergy("Patient/q")), entry(PATIENT, URN)), set()),
        (
            "a contained Patient",
            bundle(entry(allergy("#p", contained=[PATIENT]))),
            set(),
        ),
        ("stated", bundle(entry(PATIENT, URN), stated="Patient/ann"), {"ann"}),
        (
            "stated beside one known",
            bundle(entry(allergy("Patient/q")), entry(PATIENT, URN), stated="Patient/ann"),
            {"ann", "q"},
        ),
        ("stated of no patient", bundle(entry(PATIENT, URN), stated="Group/ann"), set()),
        ("a Bundle in a Bundle", bundle(entry(bundle(entry(PATIENT, URN)))), set()),
        ("a Bundle in a Bundle, known", bundle(entry(bundle(entry(allergy())))), {"p"}),
        ("no person", bundle(entry({"resourceType": "Medication"}, URN)), set()),
        ("a performer elsewhere", bundle(entry({
            "resourceType": "Observation", "subject": {"reference": "Patient/p"},
            "performer": [{"reference": f"{ELSEWHERE}/Practitioner/y"}],
        })), {"p"}),
    ],
)  # fmt: skip
def test_a_patient_counts_where_they_are_known_here(
    name: str, container: dict[str, Any], patients: set[str]
) -> None:
    record = record_facts(container, "hospital-a")

    assert record.patients == patients, name
    assert not record.directory


def test_parameters_hold_this_servers_resources() -> None:
    parameter = {"name": "a", "part": [{"name": "b", "resource": allergy()}]}
    record = record_facts({"resourceType": "Parameters", "id": "x", "parameter": [parameter]}, None)

    assert record.patients == {"p"}


def test_a_full_url_under_this_servers_address_is_ours() -> None:
    container = bundle(
        entry(PATIENT, f"{HERE}/Patient/p"), entry(allergy(), f"{HERE}/AllergyIntolerance/a")
    )

    assert patients_of_container(container, HERE) == {"p"}
    assert patients_of_container(container) == set()
    assert patients_of_container(container, ELSEWHERE) == set()


def test_the_statement_says_who_an_own_address_names() -> None:
    ours = bundle(entry(PATIENT, f"{HERE}/Patient/p"))
    mixed = bundle(entry(PATIENT, f"{HERE}/Patient/p"), entry(PATIENT, URN))

    stated = state_patients(ours, HERE)

    assert record_facts(stated, None).patients == {"p"}
    assert {**stated, "meta": None} == {**ours, "meta": None}
    assert state_patients(stated, HERE) is stated
    assert state_patients(mixed, HERE) is mixed


def test_a_contained_patient_is_no_patient_of_this_server() -> None:
    record = record_facts({**allergy("#p"), "id": "a", "contained": [PATIENT]}, "hospital-a")

    assert (record.patients, record.directory) == (frozenset(), False)
