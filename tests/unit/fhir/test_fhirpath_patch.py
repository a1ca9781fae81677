"""FHIRPath Patch: each operation on each kind of element, and what is refused where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Invalid, TooCostly, Unprocessable
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.patch.fhirpath_patch import MAX_OPERATIONS, apply_fhirpath_patch, parse_fhirpath_patch
from tests.lib.patches import operation

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def patched(resource: dict[str, Any], *steps: dict[str, Any]) -> dict[str, Any]:
    parameters = {"resourceType": "Parameters", "parameter": list(steps)}
    return apply_fhirpath_patch(resource, parse_fhirpath_patch(parameters), NOW)


def patient(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **elements}


CONTACT = {
    "part": [
        {"name": "name", "valueHumanName": {"family": "Lee"}},
        {"name": "telecom", "valueContactPoint": {"value": "1"}},
        {"name": "telecom", "valueContactPoint": {"value": "2"}},
        {"name": "gender", "valueCode": "female"},
    ]
}
CASES = [
    ("add a single value", patient(),
     operation("add", "Patient", name="birthDate", value=("Date", "1930-01-01")),
     patient(birthDate="1930-01-01")),
    ("add to a list", patient(name=[{"family": "A"}]),
     operation("add", "Patient", name="name", value=("HumanName", {"family": "B"})),
     patient(name=[{"family": "A"}, {"family": "B"}])),
    ("add to a list of primitives", patient(name=[{"given": ["A"]}]),
     operation("add", "Patient.name[0]", name="given", value=("String", "B")),
     patient(name=[{"given": ["A", "B"]}])),
    ("add a backbone element", patient(),
     operation("add", "Patient", name="contact", value=CONTACT),
     patient(contact=[{"name": {"family": "Lee"}, "gender": "female",
                       "telecom": [{"value": "1"}, {"value": "2"}]}])),
    ("add a choice", patient(),
     operation("add", "Patient", name="deceased", value=("Boolean", True)),
     patient(deceasedBoolean=True)),
    ("add an extension to a primitive", patient(birthDate="1930-01-01"),
     operation("add", "Patient.birthDate", name="extension",
               value={"part": [{"name": "url", "valueUri": "http://e"},
                               {"name": "value", "valueCode": "x"}]}),
     patient(birthDate="1930-01-01",
             _birthDate={"extension": [{"url": "http://e", "valueCode": "x"}]})),
    ("insert", patient(name=[{"family": "A"}, {"family": "C"}]),
     operation("insert", "Patient.name", index=1, value=("HumanName", {"family": "B"})),
     patient(name=[{"family": "A"}, {"family": "B"}, {"family": "C"}])),
    ("insert at the end", patient(name=[{"given": ["A"]}]),
     operation("insert", "Patient.name.given", index=1, value=("String", "B")),
     patient(name=[{"given": ["A", "B"]}])),
    ("delete", patient(birthDate="1930-01-01", active=True),
     operation("delete", "Patient.birthDate"), patient(active=True)),
    ("delete one of a list", patient(name=[{"family": "A"}, {"family": "B"}]),
     operation("delete", "Patient.name.where(family = 'A')"), patient(name=[{"family": "B"}])),
    ("delete the last of a list", patient(active=True, name=[{"family": "A"}]),
     operation("delete", "Patient.name[0]"), patient(active=True)),
    ("delete a primitive and what is beside it",
     patient(name=[{"given": ["A", "B"], "_given": [None, {"id": "x"}]}]),
     operation("delete", "Patient.name.given[0]"),
     patient(name=[{"given": ["B"], "_given": [{"id": "x"}]}])),
    ("delete what is not there", patient(active=True),
     operation("delete", "Patient.birthDate"), patient(active=True)),
    ("replace", patient(gender="male"),
     operation("replace", "Patient.gender", value=("Code", "female")), patient(gender="female")),
    ("replace in a list", patient(name=[{"given": ["A", "B"]}]),
     operation("replace", "Patient.name.given[1]", value=("String", "C")),
     patient(name=[{"given": ["A", "C"]}])),
    ("replace a choice by another type", patient(deceasedBoolean=True),
     operation("replace", "Patient.deceased", value=("DateTime", "2026")),
     patient(deceasedDateTime="2026")),
    ("move", patient(name=[{"family": "A"}, {"family": "B"}, {"family": "C"}]),
     operation("move", "Patient.name", source=0, destination=2),
     patient(name=[{"family": "B"}, {"family": "C"}, {"family": "A"}])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "step", "expected"), CASES, ids=[c[0] for c in CASES])
def test_each_operation_changes_what_it_names(
    name: str, given: dict[str, Any], step: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = serialize(given)

    assert patched(given, step) == expected
    assert serialize(given) == before


def test_an_operation_sees_what_the_ones_before_have_done() -> None:
    result = patched(
        patient(),
        operation("add", "Patient", name="name", value=("HumanName", {"family": "A"})),
        operation("add", "Patient.name", name="given", value=("String", "B")),
        operation("replace", "Patient.name.where(given = 'B').family", value=("String", "C")),
    )

    assert result == patient(name=[{"family": "C", "given": ["B"]}])


def test_numbers_keep_their_digits() -> None:
    body = serialize(
        {
            "resourceType": "Parameters",
            "parameter": [
                operation("add", "Observation", name="value", value=("Quantity", {"value": 0}))
            ],
        }
    ).replace(b'"value":0', b'"value":1.50')

    result = apply_fhirpath_patch(
        {"resourceType": "Observation"}, parse_fhirpath_patch(parse(body)), NOW
    )

    assert b'"valueQuantity":{"value":1.50}' in serialize(result)


@pytest.mark.parametrize(
    "step",
    [
        operation("add", "Patient", name="colour", value=("String", "red")),
        operation("add", "Patient", name="active", value=("Boolean", False)),
        operation("add", "Patient", name="deceased", value=("String", "x")),
        operation("add", "Patient", name="name", value=("Address", {"use": "home"})),
        operation("add", "Patient", name="contact", value={"part": [
            {"name": "colour", "valueString": "red"}]}),
        operation("add", "Patient", name="contact", value={"part": [
            {"name": "gender", "valueCode": "male"}, {"name": "gender", "valueCode": "female"}]}),
        operation("add", "Patient.name", name="text", value=("String", "x")),
        operation("replace", "Patient.birthDate", value=("Date", "2026")),
        operation("replace", "Patient", value=("Date", "2026")),
        operation("delete", "Patient"),
        operation("delete", "Patient.name"),
        operation("delete", "Patient.name.count()"),
        operation("insert", "Patient.name", index=3, value=("HumanName", {"family": "B"})),
        operation("insert", "Patient.name[0]", index=0, value=("HumanName", {"family": "B"})),
        operation("insert", "Patient.active", index=0, value=("Boolean", True)),
        operation("insert", "Patient.contact", index=0, value=CONTACT),
        operation("move", "Patient.name", source=0, destination=2),
        operation("move", "Patient.name | Patient.address", source=0, destination=1),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_and_its_place_told(step: dict[str, Any]) -> None:
    names = [{"family": "Chan"}, {"family": "Wong"}]
    given = patient(active=True, name=names, address=[{"text": "x"}])

    with pytest.raises(Unprocessable) as caught:
        patched(given, step)

    issue = caught.value.issues[0]
    assert str(issue.expression).startswith(("Patient", "Parameters.parameter[0]"))
    assert "Chan" not in issue.diagnostics


@pytest.mark.parametrize(
    "step",
    [
        {"name": "other"},
        operation("spend", "Patient"),
        operation("add", "Patient"),
        operation("add", "Patient", name="active", value={}),
        operation("delete", "Patient.active", index=0),
        operation("move", "Patient.name", source=0, destination=("String", "1")),
        operation("insert", "Patient.name", index=-1, value=("HumanName", {"family": "B"})),
        {"name": "operation", "part": [{"name": "type", "valueCode": "add"}] * 2},
        operation("delete", "Patient.colour"),
        operation("delete", "Patient.name["),
        operation("delete", "%unknown"),
    ],
)
def test_a_malformed_operation_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        patched(patient(active=True), step)

    assert str(caught.value.issues[0].expression).startswith("Parameters")


def test_other_resources_and_endless_patches_are_refused() -> None:
    with pytest.raises(EhrError):
        parse_fhirpath_patch({"resourceType": "Patient"})
    with pytest.raises(TooCostly):
        patched(patient(), *[operation("delete", "Patient.active")] * (MAX_OPERATIONS + 1))


@pytest.mark.parametrize(
    "path",
    [
        f"Patient.name.where('{'a' * 40}!'.matches('^(a+)+$'))",
        f"Patient.name.where('{'a' * 40}!'.replaceMatches('^(a+)+$', '') = '')",
        "Patient.name.where('a'" + ".replace('a', 'aa')" * 60 + " = '')",
        "Patient.name" + ".select($this.combine($this))" * 60,
        "Patient" + ".descendants()" * 40,
        "Patient.repeat(children())",
        "Patient.name.where(%resource.name.where(%resource.name.exists()).exists())",
        "%resource.name",
        "Patient.name.trace('a')",
    ],
)
def test_a_path_cannot_be_made_to_run_for_ever(path: str) -> None:
    names = patient(name=[{"family": "A"}, {"family": "B"}])

    with pytest.raises(Unprocessable, match="a patch may not have"):
        patched(names, operation("delete", path))


def test_a_path_has_a_length() -> None:
    with pytest.raises(TooCostly):
        patched(patient(), operation("delete", "Patient.name" + ".where(true)" * 200))
