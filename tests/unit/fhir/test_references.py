"""References: what they name, where they stand."""

from __future__ import annotations

import pytest

from ehr_fhir.compartments import compartment_parameters, patient_ids_of
from ehr_fhir.references import (
    Target,
    local_target,
    referenced_type,
    split_conditional_reference,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient/a", Target("Patient", "a")),
        ("Patient/a/_history/3", Target("Patient", "a")),
        ("Foo/a", None),
        ("Patient/", None),
        ("#a", None),
        ("urn:uuid:a", None),
        ("http://elsewhere/Patient/a", None),
        ("Patient?identifier=a", None),
    ],
)
def test_a_local_reference_names_type_and_id(text: str, expected: Target | None) -> None:
    assert local_target(text) == expected


def test_an_absolute_reference_shows_its_type() -> None:
    assert referenced_type("http://elsewhere/fhir/Patient/a") == "Patient"
    assert referenced_type("urn:uuid:a") is None


def test_a_reference_by_search_is_split() -> None:
    assert split_conditional_reference("Location?identifier=s|v") == ("Location", "identifier=s|v")
    assert split_conditional_reference("Foo?identifier=s|v") is None


def test_a_record_belongs_to_the_patients_of_its_compartment() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/a"},
        "performer": [{"reference": "Patient/b"}, {"reference": "Practitioner/c"}],
        "focus": [{"reference": "Patient/d"}],
    }

    assert patient_ids_of(resource) == {"a", "b"}


def test_a_patient_belongs_to_itself() -> None:
    assert patient_ids_of({"resourceType": "Patient", "id": "a"}) == {"a"}


def test_a_patient_with_a_link_is_no_record_of_the_other() -> None:
    link = {"type": "replaces", "other": {"reference": "Patient/b"}}

    assert patient_ids_of({"resourceType": "Patient", "id": "a", "link": [link]}) == {"a"}


def test_a_device_belongs_to_its_wearer() -> None:
    device = {"resourceType": "Device", "patient": {"reference": "Patient/a"}}

    assert compartment_parameters("Device") == ("patient",)
    assert patient_ids_of(device) == {"a"}


def test_an_organization_belongs_to_nobody() -> None:
    assert patient_ids_of({"resourceType": "Organization", "id": "a"}) == frozenset()
