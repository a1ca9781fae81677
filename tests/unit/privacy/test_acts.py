"""What a new version amounts to, for every type and element of the definitions."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_privacy.consent import acts_of_update, load_domains, record_facts
from ehr_privacy.consent.acts import is_entered_in_error, mark_entered_in_error
from tests.lib.minimal import minimal

Json = dict[str, Any]
CLINICAL = sorted(definitions.resource_types() - load_domains().directory - {"Patient"})
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def acts(before: Json, after: Json) -> frozenset[str]:
    return acts_of_update(
        before, after, record_facts(before, "hosp-a"), record_facts(after, "hosp-a")
    )


def marks(kind: str) -> list[Json]:
    """Return what marks a resource of a type as a mistake, by the definitions alone."""
    found: list[Json] = []
    for key, element in definitions.json_elements(kind).items():
        codes = definitions.required_codes(kind, element.name) or ()
        if "entered-in-error" in codes:
            found.append({key: "entered-in-error"})
        elif key == "verificationStatus":
            found.append({key: {"coding": [{"code": "entered-in-error"}]}})
        elif key == "active" and element.type == "boolean":
            found.append({key: False})
    return found


@pytest.mark.parametrize("kind", [kind for kind in CLINICAL if marks(kind)])
def test_a_mark_is_one_in_every_type_that_has_one_and_so_is_taking_it_back(kind: str) -> None:
    plain = minimal(kind, "x")
    plain = {key: value for key, value in plain.items() if value != "entered-in-error"}
    for mark in marks(kind):
        marked = {**plain, **mark}

        assert "mark-wrong" in acts(plain, marked)
        assert "mark-wrong" in acts(marked, plain)
        assert "mark-wrong" not in acts(marked, {**marked, "language": "en"})


def test_most_clinical_types_have_a_mark() -> None:
    assert len([kind for kind in CLINICAL if marks(kind)]) > 60


@pytest.mark.parametrize("kind", CLINICAL)
def test_a_stewards_mark_is_found(kind: str) -> None:
    resource = minimal(kind, "x")

    if mark_entered_in_error(resource):
        assert is_entered_in_error(resource)
    else:
        assert not marks(kind)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"valueQuantity": {"value": 5}}, {}),
        ({"valueQuantity": {"value": 5}}, {"dataAbsentReason": {"text": "unknown"}}),
        ({"valueString": "five"}, {"valueString": "-"}),
        ({"valueString": "five"}, {"_valueString": {"extension": [{"url": "x"}]}}),
        ({"code": {"text": "x"}}, {"code": {"coding": [{"system": ABSENT, "code": "unknown"}]}}),
        ({"code": {"text": "x"}}, {"code": {"extension": [{"url": "x", "valueCode": "unknown"}]}}),
        ({"component": [{"code": {"text": "x"}}]}, {}),
        ({"valueQuantity": {"value": 5, "unit": "g"}}, {"valueQuantity": {"unit": "g"}}),
        ({"code": {"coding": [{"code": "x"}]}}, {"code": {"coding": [{"system": "urn:x"}]}}),
        (
            {"component": [{"code": {"text": "x"}, "valueString": "five"}]},
            {"component": [{"code": {"text": "x"}}]},
        ),
        (
            {"component": [{"code": {"text": "x"}}, {"code": {"text": "y"}}]},
            {"component": [{"code": {"text": "x"}}]},
        ),
        ({"hasMember": [{"reference": "Observation/y"}]}, {}),
        ({"bodySite": {"text": "arm"}}, {"note": [{"text": "arm"}]}),
    ],
)
def test_what_takes_an_element_away_empties(before: Json, after: Json) -> None:
    base = {"resourceType": "Observation", "id": "x", "status": "final"}

    assert "empty" in acts({**base, **before}, {**base, **after})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"valueQuantity": {"value": 5}}, {"valueQuantity": {"value": 6}}),
        ({"valueQuantity": {"value": 5}}, {"valueString": "five"}),
        ({"code": {"text": "x"}}, {"code": {"text": "y"}}),
        (
            {"component": [{"code": {"text": "x"}, "valueString": "five"}]},
            {"component": [{"code": {"text": "y"}, "valueInteger": 5}]},
        ),
        ({"effectiveDateTime": "2026"}, {}),
        ({"encounter": {"reference": "Encounter/e"}}, {}),
        ({"meta": {"security": [{"code": "HIV"}]}}, {}),
        ({"category": [{"text": "laboratory"}]}, {}),
        ({"note": [{"text": "x"}]}, {}),
        ({"identifier": [{"value": "x"}]}, {}),
        ({}, {"valueString": "five"}),
    ],
)
def test_what_puts_something_in_its_place_does_not_empty(before: Json, after: Json) -> None:
    base = {"resourceType": "Observation", "id": "x", "status": "final"}

    assert acts({**base, **before}, {**base, **after}) == {"correct"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"name": [{"family": "A"}]}, {"name": [{"family": "B"}]}, {"person-identity"}),
        ({"name": [{"text": "A"}, {"text": "B"}]}, {"name": [{"text": "B"}, {"text": "A"}]},
         {"person-details"}),
        ({"birthDate": "1980"}, {"_birthDate": {"extension": [{"url": "x"}]}},
         {"person-identity"}),
        ({"gender": "male"}, {}, {"person-identity"}),
        ({}, {"identifier": [{"system": "urn:HKID", "value": "x"}]}, {"person-identity"}),
        ({}, {"identifier": [{"system": "http://clinic/mrn", "value": "77"}]},
         {"person-details"}),
        ({}, {"identifier": [{"system": "http://clinic/mrn", "value": "A123456(3)"}]},
         {"person-identity"}),
        ({}, {"deceasedBoolean": True}, {"person-details"}),
        ({"telecom": [{"value": "1"}]}, {"telecom": [{"value": "2"}]}, {"person-details"}),
        ({"telecom": [{"value": "1"}]}, {"gender": "male"},
         {"person-details", "person-identity"}),
        ({}, {"active": False}, {"person-inactive"}),
        ({"active": True}, {}, {"person-details"}),
        ({"link": [{"type": "seealso"}]}, {}, {"person-link"}),
    ],
)  # fmt: skip
def test_what_a_new_version_does_to_a_person(before: Json, after: Json, expected: set[str]) -> None:
    base = {"resourceType": "Patient", "id": "x"}

    assert acts({**base, **before}, {**base, **after}) == expected
