"""UCUM units as a factor and dimensions, so that 4 'g' equals 4000 'mg'; the table is ucum.toml.

Kept beside the libraries: ucumvert 0.3.2 with pint takes two seconds to start, works in floats,
makes `[IU]` a bare number and refuses `{score}`. The table has the units in daily use; one that it
lacks is compared only with itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files

__all__ = ["Unit", "combine_units", "parse_unit"]

# A mark before it, the unit's letters, digits after them, a signed exponent, an annotation.
_COMPONENT = re.compile(
    r"([./]?)((?:\[[^\]]*\]|[^./()\[\]{}\d^*+-]|10[*^])*)(\d*)([+-]?\d*)(\{[^}]*\})?"
)
_GROUP = re.compile(r"([./]?)\(([^()]*)\)([+-]?\d*)")
# Chosen: no code in use comes near it, and it bounds the work on a stranger's.
_MAX_CHARACTERS = 100
# Chosen: it keeps `10*99999999` from becoming a number of a hundred million digits.
_MAX_POWER = 30


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as a factor and the exponents of its base units, sorted by name.

    >>> parse_unit("km/h")
    Unit(factor=Fraction(5, 18), dimensions=(('m', 1), ('s', -1)))
    """

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class _Table:
    """The content of ucum.toml."""

    base: frozenset[str]
    prefixes: Mapping[str, Fraction]
    # Unit -> (number, code of the unit that the number is of).
    defined: Mapping[str, tuple[str, str]]
    # Units that take a prefix.
    metric: frozenset[str]


@lru_cache(2048)
def parse_unit(code: str) -> Unit | None:
    """Parse a UCUM code to its unit; return None for a unit that is not in the table.

    >>> parse_unit("mg") == Unit(Fraction(1, 1000), (("g", 1),))
    True
    >>> parse_unit("kg.m/s2").dimensions
    (('g', 1), ('m', 1), ('s', -2))
    >>> parse_unit("mL/(24.h)") == parse_unit("mL/d")
    True
    """
    factor, exponents, position = Fraction(1), dict[str, int](), 0
    if len(code) > _MAX_CHARACTERS or not code:
        return None
    while position < len(code):
        group = _GROUP.match(code, position)
        match = group or _COMPONENT.match(code, position)
        if not match or match.end() == position or (position and not match[1]):
            return None
        parsed = _parse_group(group) if group else _parse_component(match[2], match[3], match[4])
        if parsed is None:
            return None
        unit, power = parsed
        if abs(power) > _MAX_POWER:
            return None
        # A slash divides only by the one unit after it; a dot multiplies again.
        power = -power if match[1] == "/" else power
        factor *= unit.factor**power
        for base, exponent in unit.dimensions:
            exponents[base] = exponents.get(base, 0) + exponent * power
        position = match.end()
    return Unit(factor, _sorted_dimensions(exponents))


def combine_units(left: str, right: str, divide: bool) -> str:
    """Return the code of the product or quotient of two units.

    >>> combine_units("g", "m2/s", divide=True)
    'g/m2.s'
    """
    if divide:
        if left == right:
            return "1"
        # The unit after a slash is inverted alone, so each of the divisor's parts is turned.
        inverted = re.sub(r"[./]", lambda mark: "/" if mark[0] == "." else ".", right)
        if right == "1":
            return left
        return left + inverted if right.startswith("/") else f"{left}/{inverted}"
    if "1" in (left, right):
        return right if left == "1" else left
    return f"{left}.{right}"


def _parse_group(group: re.Match[str]) -> tuple[Unit, int] | None:
    unit = parse_unit(group[2])
    return (unit, int(group[3] or 1)) if unit and group[3] not in ("+", "-") else None


def _parse_component(name: str, number: str, exponent: str) -> tuple[Unit, int] | None:
    """Return a unit and its power: of `m2`, `s-1`, `10*3`, `24` or a bare annotation."""
    if name in ("10*", "10^"):
        return Unit(Fraction(10)), int(number + exponent or 1) if number or exponent else 1
    if name == "":
        # `24` is a factor of 24, and a bare annotation such as `{score}` the unit 1.
        return (Unit(Fraction(int(number or 1)) or Fraction(1)), 1) if not exponent else None
    unit = _find_atom(name)
    if unit is None or exponent in ("+", "-"):
        return None
    return unit, int(number or exponent or 1)


@cache
def _table() -> _Table:
    text = tomllib.loads((files(__package__) / "ucum.toml").read_text(encoding="utf-8"))
    base = frozenset(text["base"])
    return _Table(
        base=base,
        prefixes={name: Fraction(Decimal(value)) for name, value in text["prefixes"].items()},
        defined={**text["metric"], **text["plain"]},
        metric=base | set(text["metric"]),
    )


@cache
def _find_unprefixed(name: str) -> Unit | None:
    table = _table()
    if name in table.base:
        return Unit(Fraction(1), ((name, 1),))
    if name not in table.defined:
        return None
    number, unit_code = table.defined[name]
    unit = parse_unit(unit_code)
    return unit and Unit(Fraction(Decimal(number)) * unit.factor, unit.dimensions)


def _find_atom(name: str) -> Unit | None:
    """Return a unit of the table, with a prefix or without."""
    if unit := _find_unprefixed(name):
        return unit
    table = _table()
    # `da` has two letters, so the longer prefix goes first.
    for length in (2, 1):
        scale, rest = table.prefixes.get(name[:length]), name[length:]
        if scale and rest in table.metric and (unit := _find_unprefixed(rest)):
            return Unit(scale * unit.factor, unit.dimensions)
    return None


def _sorted_dimensions(exponents: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent))
