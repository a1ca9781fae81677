"""Quantities in the base units of UCUM, so that 5.4 mg is found as 0.0054 g (R4 §3.1.1.4.11).

In base units, those with a zero of their own (Cel, [degF]) and those outside the engine's table
stay as written. From one unit into another temperatures are converted, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from ehr_fhir.fhirpath import parse_unit

__all__ = [
    "CANONICAL_SYSTEM",
    "MAX_UNIT_CHARACTERS",
    "UCUM",
    "CanonicalUnit",
    "canonical_unit",
    "convert",
]

UCUM = "http://unitsofmeasure.org"
# Stands in place of the system; the space keeps it apart from every uri.
CANONICAL_SYSTEM = "UCUM base units"
# Three texts share a key of the index.
MAX_UNIT_CHARACTERS = 150
# Temperatures have a zero of their own: number of kelvins of a unit, and where its zero is.
_TEMPERATURES = {
    "K": (Fraction(1), Fraction(0)),
    "Cel": (Fraction(1), Fraction("273.15")),
    "[degF]": (Fraction(5, 9), Fraction("459.67") * 5 / 9),
}
# Units that UCUM names twice, and one that the table of ratios lacks.
_SAME = {"pH": "[pH]", "{pH}": "[pH]", "[IU]/L": "U/L", "IU/L": "U/L", "[iU]/L": "U/L"}


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


def convert(value: float, unit: str, target: str, molar_mass: float | None = None) -> float | None:
    """Return a number of a UCUM unit in another; None where that is another dimension.

    Amounts of substance (mol) become masses, and the other way about, where the `molar_mass` is
    given, in g/mol. Worked out exactly and rounded once.

    >>> convert(101.3, "[degF]", "Cel"), convert(1.5, "kg", "g"), convert(1, "mg", "mmol")
    (38.5, 1500.0, None)
    >>> convert(100, "umol/L", "mg/dL", molar_mass=113.12)
    1.1312
    """
    scale = _find_scale(_SAME.get(unit, unit), _SAME.get(target, target), molar_mass)
    if scale is None:
        return None
    factor, offset = scale
    if not math.isfinite(value):
        return value
    # A float's digits are meant, not its binary fraction.
    return float(Fraction(str(value)) * factor + offset)


@lru_cache(4096)
def _find_scale(
    unit: str, target: str, molar_mass: float | None
) -> tuple[Fraction, Fraction] | None:
    """Return by what a number of one unit is multiplied, and what is added then."""
    if unit == target:
        return Fraction(1), Fraction(0)
    if unit in _TEMPERATURES and target in _TEMPERATURES:
        (step, zero), (target_step, target_zero) = _TEMPERATURES[unit], _TEMPERATURES[target]
        return step / target_step, (zero - target_zero) / target_step
    found, wanted = parse_unit(unit), parse_unit(target)
    if found is None or wanted is None:
        return None
    grams = None if molar_mass is None else Fraction(str(molar_mass))
    (factor, powers), (target_factor, target_powers) = (
        _to_mass(one.factor, one.dimensions, grams) for one in (found, wanted)
    )
    return (factor / target_factor, Fraction(0)) if powers == target_powers else None


def _to_mass(
    factor: Fraction, dimensions: tuple[tuple[str, int], ...], grams_per_mole: Fraction | None
) -> tuple[Fraction, dict[str, int]]:
    """Return a factor and its dimensions, with grams for moles where it is known how many."""
    powers = dict(dimensions)
    if grams_per_mole is not None and (moles := powers.pop("mol", 0)):
        factor *= grams_per_mole**moles
        powers["g"] = powers.get("g", 0) + moles
    return factor, {base: power for base, power in powers.items() if power}
