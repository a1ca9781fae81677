"""Composites: parts that must hold in one element, not anywhere in the resource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_gateway.store.store import Store
from tests.lib.store import found, put

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
SYSTOLIC, DIASTOLIC = "8480-6", "8462-4"


def _code(code: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code}]}


def _quantity(value: float, code: str = "mm[Hg]") -> dict[str, Any]:
    return {"value": value, "unit": code, "system": UCUM, "code": code}


@pytest.fixture
def pressures(store: Store) -> Iterator[Store]:
    """A pressure of 120 over 80, and a single value."""
    base = {"resourceType": "Observation", "status": "final"}
    components = [
        {"code": _code(SYSTOLIC), "valueQuantity": _quantity(120)},
        {"code": _code(DIASTOLIC), "valueQuantity": _quantity(80)},
    ]
    put(store, {**base, "id": "bp", "code": _code("85354-9"), "component": components})
    put(store, {**base, "id": "one", "code": _code(SYSTOLIC), "valueQuantity": _quantity(120)})
    yield store


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"component-code-value-quantity={SYSTOLIC}$120", ["bp"]),
        (f"component-code-value-quantity={LOINC}|{SYSTOLIC}$gt110||mm[Hg]", ["bp"]),
        (f"component-code-value-quantity={SYSTOLIC}$16.0|{UCUM}|kPa", ["bp"]),
        # The values of two components never meet.
        (f"component-code-value-quantity={SYSTOLIC}$80", []),
        (f"component-code-value-quantity={DIASTOLIC}$gt100", []),
        (f"component-code-value-quantity={DIASTOLIC}$gt100,{DIASTOLIC}$80", ["bp"]),
        (f"combo-code-value-quantity={SYSTOLIC}$120", ["bp", "one"]),
        (f"combo-code-value-quantity={DIASTOLIC}$120", []),
        # Nor do a component and the whole.
        ("combo-code-value-quantity=85354-9$120", []),
        (f"code-value-quantity={SYSTOLIC}$lt121", ["one"]),
        ("code-value-quantity=85354-9$120", []),
    ],
)
def test_only_the_values_of_one_element_go_together(
    pressures: Store, query: str, ids: list[str]
) -> None:
    assert found(pressures, "Observation", query) == ids


def test_a_composite_stands_in_a_chain(pressures: Store) -> None:
    report = {"resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": _code("x")}
    put(pressures, {**report, "result": [{"reference": "Observation/bp"}]})
    asked = "result.component-code-value-quantity"

    assert found(pressures, "DiagnosticReport", f"{asked}={SYSTOLIC}$120") == ["r"]
    assert found(pressures, "DiagnosticReport", f"{asked}={SYSTOLIC}$80") == []


def test_a_characteristic_goes_with_its_own_value(store: Store) -> None:
    def characteristic(code: str, value: str) -> dict[str, Any]:
        value_code = {"coding": [{"code": value}]}
        return {"code": _code(code), "valueCodeableConcept": value_code, "exclude": False}

    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": False}
    put(
        store, {**group, "characteristic": [characteristic("sex", "f"), characteristic("age", "o")]}
    )

    assert found(store, "Group", "characteristic-value=sex$f") == ["g"]
    assert found(store, "Group", "characteristic-value=sex$o") == []


def test_a_document_is_found_by_how_it_relates_to_which(store: Store) -> None:
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [{"attachment": {"url": "http://a.org/1"}}],
    }
    put(store, {**document, "id": "a"})
    put(store, {**document, "id": "b"})
    relations = [
        {"code": "replaces", "target": {"reference": "DocumentReference/a"}},
        {"code": "signs", "target": {"reference": "DocumentReference/b"}},
    ]
    put(store, {**document, "id": "c", "relatesTo": relations})

    kind = "DocumentReference"
    assert found(store, kind, "relationship=DocumentReference/a$replaces") == ["c"]
    assert found(store, kind, "relationship=DocumentReference/a$signs") == []


def test_a_chromosome_goes_with_every_variant(store: Store) -> None:
    sequence = {
        "resourceType": "MolecularSequence",
        "id": "s",
        "coordinateSystem": 0,
        "referenceSeq": {
            "chromosome": {"coding": [{"code": "1"}]}, "windowStart": 100, "windowEnd": 200,
        },
        "variant": [{"start": 120, "end": 130}, {"start": 150, "end": 160}],
    }  # fmt: skip
    put(store, sequence)

    kind = "MolecularSequence"
    assert found(store, kind, "chromosome-variant-coordinate=1$150$160") == ["s"]
    assert found(store, kind, "chromosome-variant-coordinate=1$120$160") == []
    assert found(store, kind, "chromosome-variant-coordinate=2$120$130") == []
    assert found(store, kind, "chromosome-window-coordinate=1$100$lt201") == ["s"]


def test_a_context_is_found_by_its_type_and_its_value(store: Store) -> None:
    contexts = [
        {"code": {"code": "age"}, "valueRange": {"low": _quantity(18, "a")}},
        {"code": {"code": "venue"}, "valueCodeableConcept": {"coding": [{"code": "home"}]}},
    ]
    body = {"resourceType": "Library", "id": "l", "status": "draft", "useContext": contexts}
    put(store, {**body, "type": {"text": "x"}})

    assert found(store, "Library", "context-type-value=venue$home") == ["l"]
    assert found(store, "Library", "context-type-value=age$home") == []
    assert found(store, "Library", f"context-type-quantity=age$gt20|{UCUM}|a") == ["l"]
    assert found(store, "Library", f"context-type-quantity=venue$gt20|{UCUM}|a") == []
