"""Units of UCUM as a factor and dimensions, so that 4 'g' is 4000 'mg'; the table is ucum.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files

__all__ = ["Unit", "combine_units", "parse_unit"]

# The factor to the base units, and the exponent of each base unit.
Unit = tuple[Fraction, tuple[tuple[str, int], ...]]

_PART = re.compile(
    r"([./]?)((?:\[[^\]]*\]|[^./()\[\]{}\d^*+-]|10[*^])*)(\d*)([+-]?\d*)(\{[^}]*\})?"
)
_GROUP = re.compile(r"([./]?)\(([^()]*)\)([+-]?\d*)")
_LONGEST = 100
_LARGEST_POWER = 30


@lru_cache(2048)
def parse_unit(code: str) -> Unit | None:
    """Return what a unit is made of, or nothing for one that is not in the table.

    >>> parse_unit("mg") == (Fraction(1, 1000), (("g", 1),))
    True
    >>> parse_unit("kg.m/s2")[1]
    (('g', 1), ('m', 1), ('s', -2))
    >>> parse_unit("mL/(24.h)") == parse_unit("mL/d")
    True
    """
    factor, powers, position, sign = Fraction(1), dict[str, int](), 0, 1
    if len(code) > _LONGEST or not code:
        return None
    while position < len(code):
        group = _GROUP.match(code, position)
        match = group or _PART.match(code, position)
        if not match or match.end() == position or (position and not match[1]):
            return None
        # In UCUM a slash turns only the one unit after it; a dot goes back.
        sign = -1 if match[1] == "/" else 1
        part = _grouped(group) if group else _component(match[2], match[3], match[4])
        if part is None:
            return None
        unit, power = part
        if abs(power) > _LARGEST_POWER:
            return None
        factor *= unit[0] ** (power * sign)
        for base, exponent in unit[1]:
            powers[base] = powers.get(base, 0) + exponent * power * sign
        position = match.end()
    return factor, _dimensions(powers)


def combine_units(left: str, right: str, divide: bool) -> str:
    """Return the code of the product or quotient of two units."""
    if divide:
        if left == right:
            return "1"
        # The unit after a slash is inverted alone, so each of the divisor's parts is turned.
        turned = re.sub(r"[./]", lambda mark: "/" if mark[0] == "." else ".", right)
        if right == "1":
            return left
        return left + turned if right.startswith("/") else f"{left}/{turned}"
    if "1" in (left, right):
        return right if left == "1" else left
    return f"{left}.{right}"


def _grouped(group: re.Match[str]) -> tuple[Unit, int] | None:
    unit = parse_unit(group[2])
    return (unit, int(group[3] or 1)) if unit and group[3] not in ("+", "-") else None


def _component(name: str, number: str, exponent: str) -> tuple[Unit, int] | None:
    if name in ("10*", "10^"):
        return (Fraction(10), ()), int(number + exponent or 1) if number or exponent else 1
    if name == "":
        # A number is a factor; a bare annotation is the number one.
        return ((Fraction(int(number or 1)) or Fraction(1), ()), 1) if not exponent else None
    unit = _atom(name)
    if unit is None or exponent in ("+", "-"):
        return None
    return unit, int(number or exponent or 1)


@cache
def _tables() -> tuple[frozenset[str], Mapping[str, Fraction], Mapping[str, list[str]], set[str]]:
    text = tomllib.loads((files(__package__) / "ucum.toml").read_text(encoding="utf-8"))
    prefixes = {name: Fraction(Decimal(value)) for name, value in text["prefixes"].items()}
    base = frozenset(text["base"])
    return base, prefixes, {**text["metric"], **text["plain"]}, set(text["metric"]) | base


@cache
def _known(name: str) -> Unit | None:
    base, _, defined, _ = _tables()
    if name in base:
        return Fraction(1), ((name, 1),)
    if name not in defined:
        return None
    number, of = defined[name]
    unit = parse_unit(of)
    return unit and (Fraction(Decimal(number)) * unit[0], unit[1])


def _atom(name: str) -> Unit | None:
    if unit := _known(name):
        return unit
    _, prefixes, _, metric = _tables()
    for length in (2, 1):
        scale = prefixes.get(name[:length])
        if scale and name[length:] in metric and (unit := _known(name[length:])):
            return scale * unit[0], unit[1]
    return None


def _dimensions(powers: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((base, power) for base, power in powers.items() if power))
