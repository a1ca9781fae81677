"""Quantities: compared by conversion (FHIRPath N1 §6.2), and their canonical value and unit.

A unit is known by its UCUM code, or by a text that is one where no system is named. A code of
another system is none of UCUM, whatever it looks like: it compares with itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from ehr_etl.sql_on_fhir.calculation import calculate
from ehr_etl.sql_on_fhir.elements import navigate
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    Expression,
    FieldOf,
    Struct,
    is_true,
    let,
    operation,
    share,
    text,
)
from ehr_etl.sql_on_fhir.types import DECIMAL
from ehr_etl.sql_on_fhir.units import (
    TEMPERATURES,
    UCUM,
    Conversion,
    list_canonical_units,
    list_conversions,
)
from ehr_etl.sql_on_fhir.values import Value, single_value

__all__ = ["canonical_unit", "canonical_value", "compare_quantities"]


# An operation with its sides exchanged.
_MIRRORED = {"eq": "eq", "lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}


def compare_quantities(name: str, left: Value, right: Value) -> Expression:
    """Return whether an operation (`eq`, `lt`, ...) holds of two quantities.

    NULL where their units do not convert, and of a value such as `<5`, which is no single one.
    """
    return _with_single(
        left, lambda first: _with_single(right, lambda second: _compare(name, first, second))
    )


def canonical_value(quantity: Value) -> Expression:
    """Return the number of a quantity in its canonical unit; NULL where it has none."""
    return _with_single(
        quantity,
        lambda single: let(
            _number_of(single),
            lambda number: let(_unit_of(single), lambda unit: _to_canonical(number, unit)),
        ),
    )


def canonical_unit(quantity: Value) -> Expression:
    """Return the canonical unit of a quantity with a number, as a UCUM code; NULL for none."""

    def find(single: Value) -> Expression:
        value = operation("is_present", navigate(single, "value").expression)
        return Choose(value, let(_unit_of(single), _canonical_unit_of))

    return _with_single(quantity, find)


def _compare(name: str, left: Value, right: Value) -> Expression:
    first, second = _literal_unit(left), _literal_unit(right)

    def compare(number: Expression, other_number: Expression) -> Expression:
        if second is not None:
            return let(
                _exact_unit_of(left),
                lambda unit: _compare_in(name, number, unit, other_number, second),
            )
        if first is not None:
            return let(
                _exact_unit_of(right),
                lambda unit: _compare_in(_MIRRORED[name], other_number, unit, number, first),
            )
        return let(
            _exact_unit_of(left),
            lambda unit: let(
                _exact_unit_of(right),
                lambda other: _compare_any(name, (number, unit), (other_number, other)),
            ),
        )

    return let(
        _number_of(left),
        lambda number: let(_number_of(right), lambda other: compare(number, other)),
    )


def _compare_in(
    name: str, number: Expression, unit: Expression, limit: Expression, wanted: str
) -> Expression:
    """Compare in the unit of a literal."""
    same = operation(name, number, limit)
    conversions = list_conversions(wanted)
    converted = operation(name, _convert(number, unit, conversions), limit) if conversions else None
    return Choose(operation("eq", unit, text(wanted)), same, converted)


def _compare_any(
    name: str, left: tuple[Expression, Expression], right: tuple[Expression, Expression]
) -> Expression:
    """Compare numbers and their units: as written, or in the canonical unit of both."""
    (number, unit), (other_number, other) = left, right
    conversions = list_canonical_units()
    same_canonical = operation("eq", _find_unit(unit, conversions), _find_unit(other, conversions))
    converted = operation(
        name,
        _convert(number, unit, conversions),
        _convert(other_number, other, conversions),
    )
    return Choose(
        operation("eq", unit, other),
        operation(name, number, other_number),
        Choose(same_canonical, converted),
    )


def _to_canonical(number: Expression, unit: Expression) -> Expression:
    converted = _convert(number, unit, list_canonical_units())
    for temperature in TEMPERATURES:
        zero = Constant(Decimal(temperature.zero), DECIMAL)
        degrees = _scale(
            calculate("subtract", Cast(number, DECIMAL), zero, whole=False),
            Constant(Decimal(temperature.numerator), DECIMAL),
            Constant(Decimal(temperature.denominator), DECIMAL),
        )
        converted = Choose(operation("eq", unit, text(temperature.code)), degrees, converted)
    return converted


def _canonical_unit_of(unit: Expression) -> Expression:
    found = _find_unit(unit, list_canonical_units())
    for temperature in TEMPERATURES:
        found = Choose(operation("eq", unit, text(temperature.code)), text(temperature.unit), found)
    return found


def _convert(number: Expression, unit: Expression, conversions: Sequence[Conversion]) -> Expression:
    """Return a number in the unit that its own converts to; NULL where it does not."""
    numerators = _list_of(str(conversion.numerator) for conversion in conversions)
    denominators = _list_of(str(conversion.denominator) for conversion in conversions)
    return let(
        _place_of(unit, conversions),
        lambda place: _scale(
            number, operation("get", numerators, place), operation("get", denominators, place)
        ),
    )


def _scale(number: Expression, numerator: Expression, denominator: Expression) -> Expression:
    product = calculate("multiply", Cast(number, DECIMAL), Cast(numerator, DECIMAL), whole=False)
    return calculate("divide", product, Cast(denominator, DECIMAL), whole=False)


def _find_unit(unit: Expression, conversions: Sequence[Conversion]) -> Expression:
    units = _list_of(conversion.unit for conversion in conversions)
    return operation("get", units, _place_of(unit, conversions))


def _place_of(unit: Expression, conversions: Sequence[Conversion]) -> Expression:
    return operation("index_of", _list_of(conversion.code for conversion in conversions), unit)


def _list_of(words: Iterable[str]) -> Expression:
    """Return a list of constants as one text that is cut: a thousand literals take long to read."""
    return operation("split", text(" ".join(words)), text(" "))


def _exact_unit_of(quantity: Value) -> Expression:
    """Return the unit of a quantity; NULL of one such as `<5 mg`, which is no single value."""
    literal = _literal_unit(quantity)
    if literal is not None:
        return text(literal)
    comparator = navigate(quantity, "comparator").expression
    # Without any unit it is a number (N1 §5.5).
    unit = operation("coalesce", _unit_of(quantity), text("1"))
    return Choose(operation("not", operation("is_present", comparator)), unit)


def _unit_of(quantity: Value) -> Expression:
    system, code, unit = (
        navigate(quantity, name).expression for name in ("system", "code", "unit")
    )
    by_code = operation("coalesce", code, unit)
    own_name = operation("coalesce", by_code, text("1"))
    elsewhere = operation("concat", operation("concat", system, text("|")), own_name)
    is_named = is_true(operation("ne", system, text("")))
    return Choose(
        is_true(operation("eq", system, text(UCUM))),
        by_code,
        Choose(is_named, elsewhere, operation("coalesce", unit, code)),
    )


def _number_of(quantity: Value) -> Expression:
    if quantity.tree is not None:
        return single_value(navigate(quantity, "value"))
    return FieldOf(quantity.expression, "value")


def _literal_unit(quantity: Value) -> str | None:
    """Return the unit of a quantity written out in the path."""
    if isinstance(quantity.expression, Struct):
        code = dict(quantity.expression.fields)["code"]
        if isinstance(code, Constant):
            return str(code.value)
    return None


def _with_single(value: Value, body: Callable[[Value], Expression]) -> Expression:
    if _literal_unit(value) is not None:
        return body(value)
    return share(
        single_value(value),
        lambda single: body(replace(value, expression=single, many=False)),
    )
