"""Quantities in the base units of UCUM, so that 5.4 mg is found as 0.0054 g (R4 §3.1.1.4.11).

Units with a zero of their own (Cel, [degF]) and units outside the engine's table stay as written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from ehr_fhir.fhirpath import parse_unit

__all__ = ["CANONICAL_SYSTEM", "MAX_UNIT_CHARACTERS", "UCUM", "CanonicalUnit", "canonical_unit"]

UCUM = "http://unitsofmeasure.org"
# Stands in place of the system; the space keeps it apart from every uri.
CANONICAL_SYSTEM = "UCUM base units"
# Three texts share a key of the index.
MAX_UNIT_CHARACTERS = 150


@dataclass(frozen=True)
class CanonicalUnit:
    """A unit as a factor of base units."""

    factor: Fraction
    unit: str

    def to_base_units(self, value: Decimal | float | int) -> float:
        """Return a number of this unit as one of base units.

        Worked out exactly and rounded once, so that equal quantities give equal numbers.
        """
        if self.factor == 1:
            return float(value)
        # A float's digits are meant, not its binary fraction.
        digits = Fraction(str(value)) if isinstance(value, float) else Fraction(value)
        try:
            return float(digits * self.factor)
        except OverflowError:
            return math.copysign(math.inf, digits)


@lru_cache(4096)
def canonical_unit(system: str, code: str) -> CanonicalUnit | None:
    """Return a unit in base units, or nothing for one that is compared as written.

    >>> canonical_unit(UCUM, "mg/dL")
    CanonicalUnit(factor=Fraction(10, 1), unit='g.m-3')
    >>> canonical_unit(UCUM, "Cel") is None
    True
    """
    if system != UCUM or not code or not (unit := parse_unit(code)):
        return None
    bases = [f"{base}{'' if power == 1 else power}" for base, power in unit.dimensions]
    return CanonicalUnit(unit.factor, ".".join(bases) or "1")
