"""Decimals as written: whether a column holds them exactly, and their boundaries.

A column's decimal has 26 digits before the point and 12 after it. What does not fit is refused
when the view runs, never rounded in silence; a column of type `string` shows the digits.
"""

from __future__ import annotations

from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Expression,
    is_true,
    let,
    number,
    operation,
    text,
)
from ehr_etl.sql_on_fhir.types import DECIMAL, INTEGER, STRING

# JSON's number, in three parts: whole digits, digits after the point, exponent.
_NUMBER = r"^-?([0-9]+)(?:[.]([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?$"
_PLAIN_AND_EXACT = r"^-?[0-9]{1,26}(?:[.][0-9]{1,12}0*)?$"
_MOST_DIGITS, _MOST_PLACES = 26, 12


def is_number(digits: Expression) -> Expression:
    """Return whether a text is a number of JSON; false of NULL."""
    return is_true(_matches(digits, _NUMBER))


def is_exact(digits: Expression) -> Expression:
    """Return whether a column's decimal holds the number."""
    places = operation("subtract", _places(digits), _exponent(digits))
    whole = operation("add", operation("length", _part(digits, 1)), _exponent(digits))
    with_exponent = operation(
        "and",
        operation("le", places, number(_MOST_PLACES)),
        operation("le", whole, number(_MOST_DIGITS)),
    )
    return operation("or", _matches(digits, _PLAIN_AND_EXACT), with_exponent)


def boundary(digits: Expression, *, high: bool) -> Expression:
    """Return the least or greatest number that the digits leave possible, to 8 places.

    Half a unit of the last place is added or taken: `1.0` may be 0.95 to 1.05.
    """

    def step(places: Expression) -> Expression:
        half = operation("concat", text("5e-"), Cast(operation("add", places, number(1)), STRING))
        moved = operation(
            "add" if high else "subtract",
            Cast(digits, DECIMAL),
            Cast(half, DECIMAL, lenient=True),
        )
        return Cast(moved, DECIMAL)

    exact = let(_places(digits, trimmed=False), step)
    return Choose(is_number(digits), exact)


def _places(digits: Expression, *, trimmed: bool = True) -> Expression:
    fraction = _part(digits, 2)
    if trimmed:
        fraction = operation("replace_pattern", fraction, text("0+$"), text(""))
    return operation("length", fraction)


def _exponent(digits: Expression) -> Expression:
    exponent = Cast(_part(digits, 3), INTEGER, lenient=True)
    return operation("coalesce", exponent, number(0))


def _part(digits: Expression, group: int) -> Expression:
    return operation("extract_pattern", digits, text(_NUMBER), number(group))


def _matches(digits: Expression, pattern: str) -> Expression:
    return operation("matches", digits, text(pattern))
