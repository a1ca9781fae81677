"""Quantities in base units: what is equal is found as equal, whatever the unit."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest

from ehr_fhir.units import UCUM, canonical_unit


@pytest.mark.parametrize(
    ("value", "code", "other_value", "other_code"),
    [
        ("5.4", "mg", "0.0054", "g"),
        ("5.35", "mg", "0.00535", "g"),
        ("120", "mm[Hg]", "15.99864", "kPa"),
        ("7.2", "10*9/L", "7.2", "10*3/uL"),
        ("100", "mg/dL", "1", "g/L"),
        ("36", "/min", "0.6", "/s"),
        ("1", "h", "60", "min"),
        ("1.5", "mmol/L", "1500", "umol/L"),
        ("2", "m[IU]/L", "2", "u[IU]/mL"),
        ("240", "mL/(24.h)", "10", "mL/h"),
        ("14.5", "[psi]", "14.5", "[lbf_av]/[in_i]2"),
    ],
)
def test_equal_quantities_are_one_number_of_one_unit(
    value: str, code: str, other_value: str, other_code: str
) -> None:
    one, other = canonical_unit(UCUM, code), canonical_unit(UCUM, other_code)

    assert one and other
    assert one.unit == other.unit
    assert one.to_base_units(Decimal(value)) == other.to_base_units(Decimal(other_value))


@pytest.mark.parametrize(
    ("one", "other"),
    [("mg", "mL"), ("mmol/L", "mg/dL"), ("[iU]/L", "/L"), ("[CFU]/mL", "[PFU]/mL")],
)
def test_quantities_of_different_kinds_are_never_compared(one: str, other: str) -> None:
    first, second = canonical_unit(UCUM, one), canonical_unit(UCUM, other)

    assert first and second
    assert first.unit != second.unit


@pytest.mark.parametrize(
    ("system", "code"), [(UCUM, "Cel"), (UCUM, "[degF]"), (UCUM, "no-unit"), (UCUM, ""), ("s", "g")]
)
def test_what_is_no_ratio_stays_as_written(system: str, code: str) -> None:
    assert canonical_unit(system, code) is None


def test_a_float_is_taken_by_its_digits() -> None:
    base = canonical_unit(UCUM, "mg")

    assert base and base.factor == Fraction(1, 1000)
    assert base.to_base_units(5.4) == 0.0054


@pytest.mark.parametrize(("digits", "end"), [("9e299", math.inf), ("-9e299", -math.inf)])
def test_what_is_beyond_every_float_is_the_largest(digits: str, end: float) -> None:
    unit = canonical_unit(UCUM, "Gm9")

    assert unit is not None
    assert unit.to_base_units(Decimal(digits)) == end
