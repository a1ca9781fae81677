"""Canonical value and unit of a quantity: one unit of a dimension, none where none is known."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.sql_on_fhir import parse_view
from ehr_etl.sql_on_fhir.units import list_canonical_units
from ehr_fhir.fhirpath import parse_unit

UCUM = "http://unitsofmeasure.org"
QUANTITY = "value.ofType(Quantity)"


def canonical(*quantities: dict[str, Any]) -> list[tuple[Decimal | None, str | None]]:
    columns = [
        {"name": "value", "path": f"{QUANTITY}.canonicalValue()"},
        {"name": "unit", "path": f"{QUANTITY}.canonicalUnit()"},
    ]
    view = {"resource": "Observation", "name": "units", "select": [{"column": columns}]}
    records = [
        ("Observation", json.dumps({"resourceType": "Observation", "valueQuantity": quantity}))
        for quantity in quantities
    ]
    _, rows = run_records_on_duckdb(parse_view(view), records)
    return [(row["value"], row["unit"]) for row in rows]


def ucum(value: float, code: str) -> dict[str, Any]:
    return {"value": value, "system": UCUM, "code": code, "unit": "whatever"}


@pytest.mark.parametrize(
    ("quantity", "value", "unit"),
    [
        (ucum(98.6, "[degF]"), "37", "Cel"),
        (ucum(37, "Cel"), "37", "Cel"),
        (ucum(310.15, "K"), "37", "Cel"),
        (ucum(100, "mg/dL"), "1000", "mg/L"),
        (ucum(0.5, "pg/mL"), "0.0000005", "mg/L"),
        (ucum(5.4, "mmol/L"), "5.4", "mmol/L"),
        (ucum(5.4, "pmol/L"), "0.0000000054", "mmol/L"),
        (ucum(7.2, "10*3/uL"), "7.2", "10*9/L"),
        (ucum(90, "fL"), "90", "fL"),
        (ucum(90, "mL"), "0.09", "L"),
        (ucum(30, "pg"), "30", "pg"),
        (ucum(150, "[lb_av]"), "68.0388555", "kg"),
        (ucum(45, "%"), "0.45", "1"),
        (ucum(7.4, "[pH]"), "7.4", "[pH]"),
        # The text of a unit counts where no system is named and it is UCUM.
        ({"value": 100, "unit": "mg/dL"}, "1000", "mg/L"),
        ({"value": 100, "code": "mg/dL"}, "1000", "mg/L"),
        # A bound is converted as a number is.
        ({**ucum(1, "mg/dL"), "comparator": "<"}, "10", "mg/L"),
    ],
)
def test_a_quantity_has_one_value_in_one_unit(
    quantity: dict[str, Any], value: str, unit: str
) -> None:
    assert canonical(quantity) == [(Decimal(value), unit)]


@pytest.mark.parametrize(
    "quantity",
    [
        {"value": 100, "unit": "tablets"},
        {"value": 5, "system": "http://units.example", "code": "mg", "unit": "mg"},
        {"value": 5, "system": UCUM, "code": "MG"},
        {"code": "mg", "system": UCUM},
        {"value": 5},
        {"value": 5, "system": UCUM},
        {"value": 5, "unit": "mg of CHAN Tai Man"},
    ],
)
def test_without_a_unit_of_ucum_there_is_no_value(quantity: dict[str, Any]) -> None:
    assert canonical(quantity) == [(None, None)]


def test_a_bound_is_no_single_value_to_compare() -> None:
    quantity = {**ucum(5, "mg"), "comparator": "<"}
    column = {"name": "known", "path": f"({QUANTITY} < 7 'mg').exists()"}
    view = {"resource": "Observation", "name": "bounds", "select": [{"column": [column]}]}
    record = json.dumps({"resourceType": "Observation", "valueQuantity": quantity})

    assert run_records_on_duckdb(parse_view(view), [("Observation", record)])[1] == [
        {"known": False}
    ]


def test_every_unit_converts_as_ucum_says() -> None:
    """All units of one canonical unit have its dimensions, and the factor between them."""
    conversions = list_canonical_units()
    for made in conversions:
        unit, wanted = parse_unit(made.code), parse_unit(made.unit)
        if made.code != made.unit:
            assert unit is not None and wanted is not None
            assert unit.dimensions == wanted.dimensions
            assert unit.factor / wanted.factor == Fraction(made.numerator, made.denominator)

    assert len(conversions) > 1000
    # What is canonical converts to itself.
    itself = {made.code for made in conversions if made.code == made.unit}
    assert {made.unit for made in conversions} <= itself


def test_every_unit_of_the_list_is_converted_by_the_engine_alike() -> None:
    """By SQL as by fractions, to 12 places."""
    conversions = list_canonical_units()
    found = canonical(*(ucum(8, made.code) for made in conversions))

    for made, (value, unit) in zip(conversions, found, strict=True):
        exact = 8 * Fraction(made.numerator, made.denominator)
        assert unit == made.unit
        if value is None:
            assert 8 * made.numerator >= 8e13 or made.denominator >= 8e13
        else:
            assert abs(Fraction(value) - exact) <= Fraction(1, 10**12), made.code
