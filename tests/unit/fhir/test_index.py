"""Index rows: what each datatype is found by."""

from __future__ import annotations

import gzip
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.index.rows import PRESENT, extract_rows
from ehr_fhir.json_text import parse
from ehr_fhir.string_folding import shorten_for_index
from ehr_fhir.token_keys import folded_key, token_key
from ehr_fhir.units import CANONICAL_SYSTEM


def values(resource: dict[str, Any], code: str) -> list[tuple[Any, ...]]:
    return [(row.kind, *row.values[:-1]) for row in extract_rows(resource) if row.code == code]


def observation(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", **elements}


def test_a_concept_is_found_by_each_of_its_codings() -> None:
    code = {"coding": [{"system": "s", "code": "a"}, {"code": "b"}], "text": "c"}

    assert values(observation(code=code), "code") == [
        ("token", "s", token_key("s", "a")),
        ("token", "", token_key("", "b")),
        ("string", "c", "c"),
    ]


def test_the_living_are_found_by_deceased_false() -> None:
    assert values({"resourceType": "Patient"}, "deceased") == [("token", "", "false")]


@pytest.mark.parametrize(
    ("element", "value", "expected"),
    [
        ("deceasedBoolean", False, "false"),
        ("deceasedBoolean", True, "true"),
        ("deceasedDateTime", "2020-01-01", "true"),
    ],
)
def test_the_dead_are_found_by_deceased_true(element: str, value: object, expected: str) -> None:
    assert values({"resourceType": "Patient", element: value}, "deceased") == [
        ("token", "", expected)
    ]


def test_a_reference_is_found_by_type_and_id() -> None:
    resource = observation(subject={"reference": "Patient/p1"})

    assert values(resource, "patient") == [("reference", "Patient", "p1")]


def test_a_group_is_no_patient() -> None:
    assert values(observation(subject={"reference": "Group/g1"}), "patient") == []


def test_a_reference_by_identifier_is_found_by_it() -> None:
    resource = observation(subject={"type": "Patient", "identifier": {"system": "s", "value": "v"}})

    assert values(resource, "patient") == [("token", "s", token_key("s", "v"))]


def test_a_name_is_found_without_case_and_accents() -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Müller", "given": ["Ann"]}]}

    assert ("string", "muller", "Müller") in values(patient, "name")


def test_an_open_period_has_no_end() -> None:
    encounter = {"resourceType": "Encounter", "period": {"start": "1970-01-01T00:00:00Z"}}

    assert values(encounter, "date") == [("date", 0, 2**60)]


def test_a_comparator_opens_a_quantity() -> None:
    resource = observation(valueQuantity={"value": 5, "comparator": "<", "unit": "mg"})

    assert values(resource, "value-quantity") == [("quantity", -(2.0**60), 5.0, "", "", "mg")]


def test_a_picked_telecom_is_found_under_its_own_name() -> None:
    telecom = [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}]

    assert values({"resourceType": "Patient", "telecom": telecom}, "email") == [
        ("token", "", folded_key("a@b"))
    ]


def test_a_bundle_is_found_by_its_composition() -> None:
    entry = [{"resource": {"resourceType": "Composition", "id": "c"}}]

    assert values({"resourceType": "Bundle", "entry": entry}, "composition") == [
        ("reference", "Composition", "c"),
        ("reference", "#Composition", "#1"),
    ]


def test_a_null_beside_an_extension_is_no_value() -> None:
    patient = {"resourceType": "Patient", "name": [{"given": [None, "Ann"]}]}

    assert values(patient, "given") == [("string", "ann", "Ann")]


def test_the_same_value_is_kept_once() -> None:
    coding = {"system": "s", "code": "a"}

    assert len(values(observation(code={"coding": [coding, coding]}), "code")) == 1


def test_every_official_example_has_index_rows(shared_data: Path) -> None:
    archive = zipfile.ZipFile(shared_data / "fhir-r4" / "examples" / "r4-examples-half-a.zip")
    resources = [parse(archive.read(name)) for name in archive.namelist()]

    empty = {one["resourceType"] for one in resources if not extract_rows(one)}

    assert len(resources) == 346
    assert empty <= {"Binary", "OperationOutcome", "Parameters"} | empty_by_nature(resources)


def empty_by_nature(resources: list[dict[str, Any]]) -> set[str]:
    return {one["resourceType"] for one in resources if set(one) <= {"resourceType", "id", "text"}}


def test_every_synthea_resource_has_index_rows(shared_data: Path) -> None:
    for file in sorted((shared_data / "synthea-r4-bulk-47").glob("[A-P]*.gz")):
        with gzip.open(file) as lines:
            for line, _ in zip(lines, range(50), strict=False):
                assert extract_rows(json.loads(line)), file.name


def test_a_quantity_in_ucum_is_found_in_base_units_too() -> None:
    ucum = "http://unitsofmeasure.org"
    value = {"value": Decimal("5.40"), "unit": "mg", "system": ucum, "code": "mg"}

    assert values(observation(valueQuantity=value), "value-quantity") == [
        ("quantity", 5.4, 5.4, ucum, "mg", "mg"),
        ("quantity", 0.0054, 0.0054, CANONICAL_SYSTEM, "g", ""),
    ]


def test_an_open_quantity_stays_open_in_base_units() -> None:
    value = {
        "value": 5, "comparator": ">", "system": "http://unitsofmeasure.org", "code": "mg",
    }  # fmt: skip

    assert values(observation(valueQuantity=value), "value-quantity")[1] == (
        "quantity", 0.005, 2.0**60, CANONICAL_SYSTEM, "g", "",
    )  # fmt: skip


def test_long_values_are_cut_and_stay_exact() -> None:
    long = "x" * 5000
    code = {"coding": [{"system": f"http://{long}", "code": long}]}
    rows = extract_rows(observation(code=code, subject={"reference": f"http://{long}/Patient/1"}))

    texts = [text for row in rows for text in row.values if isinstance(text, str)]
    assert max(map(len, texts)) <= 300
    assert ("token", shorten_for_index(f"http://{long}"), folded_key(long)) in values(
        observation(code=code), "code"
    )


def test_a_value_stands_with_the_number_of_its_component() -> None:
    components = [
        {"code": {"coding": [{"code": "a"}]}, "valueQuantity": {"value": 1}},
        {"code": {"coding": [{"code": "b"}]}, "valueQuantity": {"value": 2}},
    ]
    rows = extract_rows(observation(code={"coding": [{"code": "c"}]}, component=components))

    slots = {(row.code, row.values[-1]) for row in rows if row.code.startswith("combo-")}
    assert slots == {
        ("combo-code", 0), ("combo-code", 1), ("combo-code", 2),
        ("combo-value-quantity", 1), ("combo-value-quantity", 2),
    }  # fmt: skip


def test_a_canonical_is_found_with_its_version_and_without() -> None:
    resource = {"resourceType": "Basic", "meta": {"profile": ["http://a.org/p|1.0"]}}

    assert values(resource, "_profile") == [
        ("uri", "http://a.org/p|1.0"),
        ("uri", "http://a.org/p"),
    ]


def test_a_reference_elsewhere_is_found_without_its_version() -> None:
    reference = {"reference": "http://a.org/fhir/Patient/1/_history/3"}

    assert values(observation(subject=reference), "patient") == [
        ("reference", "", "http://a.org/fhir/Patient/1")
    ]


def test_an_identifier_is_found_by_its_type_too() -> None:
    kind = {"coding": [{"system": "t", "code": "MR"}], "text": "Record"}
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "s", "value": "1", "type": kind}],
    }

    assert values(patient, "identifier") == [
        ("token", "s", "1"),
        ("string", "record", "Record"),
        ("token", "t|MR", "1"),
    ]


def test_a_place_is_found_on_the_globe() -> None:
    place = {"resourceType": "Location", "position": {"latitude": 0, "longitude": 90}}
    beyond = {"resourceType": "Location", "position": {"latitude": 91, "longitude": 90}}

    ((kind, *where),) = values(place, "near")
    assert (kind, [round(part, 9) for part in where]) == ("position", [0, 1, 0])
    # It has a place, which no search finds.
    assert values(beyond, "near") == [("reference", PRESENT, "")]
