"""Validation on write: what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Invalid, Unprocessable
from ehr_fhir.validation import strict
from ehr_fhir.validation.validate import validate
from tests.lib.examples import INVALID, examples

SECRET = "Wong-Siu-Ming"


def fault(resource: dict[str, Any]) -> tuple[str | None, str]:
    with pytest.raises(EhrError) as caught:
        validate(resource)
    issue = caught.value.issues[0]
    return issue.expression, issue.diagnostics


@pytest.mark.parametrize(
    ("elements", "expression"),
    [
        ({"birthDate": f"{SECRET}"}, "Patient.birthDate"),
        ({"active": "true"}, "Patient.active"),
        ({"multipleBirthInteger": "1"}, "Patient.multipleBirthInteger"),
        ({"name": {"family": SECRET}}, "Patient.name"),
        ({"name": [SECRET]}, "Patient.name[0]"),
        ({"name": [{"given": [5]}]}, "Patient.name[0].given[0]"),
        ({"nickname": SECRET}, "Patient.nickname"),
        ({"contact": [{"gender": "male", "shoe": SECRET}]}, "Patient.contact[0].shoe"),
        ({"contained": [{"id": SECRET}]}, "Patient.contained[0]"),
        ({"gender": None}, "Patient"),
    ],
)
def test_a_fault_names_its_place_and_no_value(elements: dict[str, Any], expression: str) -> None:
    place, text = fault({"resourceType": "Patient", **elements})

    assert place is not None
    assert place.startswith(expression)
    assert SECRET not in text


def test_a_missing_element_is_named() -> None:
    expression, text = fault({"resourceType": "Observation", "status": "final"})

    assert expression == "Observation.code"
    assert text == "Observation.code is required."


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Unprocessable) as caught:
        validate({"resourceType": "Patient", "a": 1, "b": 2})

    assert len(caught.value.issues) == 2


@pytest.mark.parametrize("kind", [None, 5, "Patiant", "Resource", "HumanName"])
def test_an_unknown_type_is_refused(kind: object) -> None:
    with pytest.raises(Invalid, match="resourceType"):
        validate({"resourceType": kind})


def test_another_type_than_the_address_asks_for_is_refused() -> None:
    with pytest.raises(Invalid, match="asks for a Patient"):
        validate({"resourceType": "Basic", "code": {}}, "Patient")


def test_an_id_of_a_wrong_form_is_refused() -> None:
    assert fault({"resourceType": "Patient", "id": "a b"})[0] == "Patient.id"


def test_types_that_r4b_dropped_are_checked_by_r4() -> None:
    assert fault({"resourceType": "MedicinalProduct"})[0] == "MedicinalProduct.name"
    validate({"resourceType": "MedicinalProduct", "name": [{"productName": "x"}]})


def test_every_official_example_is_taken_but_those_that_break_a_rule(shared_data: Path) -> None:
    refused = {}
    for example in examples(shared_data):
        kind = example.content["resourceType"]
        issues = strict.find_issues(kind, example.content)
        if not issues:
            validate(example.content)
        else:
            refused[example.address] = issues[0].expression

    assert refused == INVALID


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ({"name": [{"productName": 5}]}, "MedicinalProduct.name[0].productName"),
        ({"name": {"productName": "x"}}, "MedicinalProduct.name"),
        ({"name": [{"productName": "x"}], "x": 1}, "MedicinalProduct.x"),
        ({"name": [{"productName": "x"}], "type": []}, "MedicinalProduct.type"),
        ({"name": [{"productName": "x"}], "language": "a  b"}, "MedicinalProduct.language"),
    ],
)
def test_structure_names_the_place(resource: dict[str, Any], place: str) -> None:
    assert [one.expression for one in strict.find_issues("MedicinalProduct", resource)] == [place]


@pytest.mark.parametrize(
    ("resource", "place", "named"),
    [
        ({"resourceType": "Patient", "gender": "banana"}, "Patient.gender", "female, male"),
        ({"resourceType": "Observation", "status": "banana", "code": {"text": "x"}},
         "Observation.status", "amended, cancelled"),
        ({"resourceType": "Patient", "name": [{"use": "official"}, {"use": "banana"}]},
         "Patient.name[1].use", "anonymous"),
        ({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
          "component": [{"code": {"text": "y"}, "valueQuantity": {"value": 1, "comparator": "~"}}]},
         "Observation.component[0].valueQuantity.comparator", "<="),
        ({"resourceType": "Schedule", "actor": [{"display": "x"}],
          "contained": [{"resourceType": "Patient", "gender": "banana"}]},
         "Schedule.contained[0].gender", "female"),
    ],
)  # fmt: skip
def test_a_code_outside_its_required_binding_is_refused_and_the_codes_named(
    resource: dict[str, Any], place: str, named: str
) -> None:
    with pytest.raises(Unprocessable) as caught:
        validate(resource)

    issue = caught.value.issues[0]
    assert (issue.expression, issue.code) == (place, "code-invalid")
    assert named in issue.diagnostics
    assert "banana" not in issue.diagnostics
