"""Maths and aggregates: exact decimals, and nothing for what overflows (FHIRPath N1 §5.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ehr_etl.sql_on_fhir import equality
from ehr_etl.sql_on_fhir.calculation import calculate
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    Expression,
    Fold,
    Reference,
    let,
    new_variable,
    number,
    operation,
    share,
)
from ehr_etl.sql_on_fhir.functions.signature import Signature, fixed_number
from ehr_etl.sql_on_fhir.operators import arithmetic
from ehr_etl.sql_on_fhir.paths import Scope
from ehr_etl.sql_on_fhir.types import BIGINT, DECIMAL, INTEGER, NUMBERS
from ehr_etl.sql_on_fhir.values import Value, as_list, single_value, size
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call

# Decimals have 12 places in SQL.
_MOST_PLACES = 12


def _abs(base: Value, call: Call, scope: Scope) -> Value:
    _require_number(base, call)
    return Value(operation("absolute", single_value(base)), base.type)


def _to_whole(name: str) -> Signature:
    """Return ceiling, floor or truncate: a whole number of 32 bits, or nothing."""

    def apply(base: Value, call: Call, scope: Scope) -> Value:
        _require_number(base, call)

        def to_integer(value: Expression) -> Expression:
            up, down = operation("ceiling", value), operation("floor", value)
            if name != "truncate":
                return Cast(up if name == "ceiling" else down, INTEGER, lenient=True)
            negative = operation("lt", value, number(0))
            return Choose(
                negative, Cast(up, INTEGER, lenient=True), Cast(down, INTEGER, lenient=True)
            )

        return Value(let(Cast(single_value(base), DECIMAL), to_integer), "integer")

    return Signature(apply)


def _round(base: Value, call: Call, scope: Scope) -> Value:
    _require_number(base, call)
    places = fixed_number(call.arguments[0], scope) if call.arguments else 0
    if not 0 <= places <= _MOST_PLACES:
        raise Unprocessable(f"round() takes a number of places from 0 to {_MOST_PLACES}.")
    decimal = Cast(single_value(base), DECIMAL)
    return Value(operation("round", decimal, number(places)), "decimal")


def _sum(base: Value, call: Call, scope: Scope) -> Value:
    """Add up; the sum of nothing is empty, as that of `aggregate()` without an initial value."""
    _require_number(base, call)
    kind = DECIMAL if base.type == "decimal" else BIGINT
    type_name = "decimal" if base.type == "decimal" else "integer64"

    def add_up(items: Expression) -> Expression:
        total, item = new_variable(), new_variable()
        added = calculate(
            "add",
            Cast(Reference(total), kind),
            Cast(Reference(item), kind),
            whole=base.type != "decimal",
        )
        zero = Cast(Constant(0, BIGINT), kind)
        return Choose(
            operation("gt", size(items), number(0)), Fold(items, zero, total, item, added)
        )

    return Value(let(as_list(base), add_up), type_name)


def _avg(base: Value, call: Call, scope: Scope) -> Value:
    def divide(items: Expression) -> Expression:
        named = replace(base, expression=items)
        count = size(items) if base.many else number(1)
        return arithmetic("divide", _sum(named, call, scope), Value(count, "integer")).expression

    return Value(share(base.expression, divide), "decimal")


def _extreme(operator: str) -> Signature:
    """Return min or max: of numbers, texts, dates and times."""

    def find(base: Value, call: Call, scope: Scope) -> Value:
        if not base.is_primitive or base.type == "boolean":
            raise Unprocessable(f"The path calls {call.name}() on {base.type}.")
        if not base.many:
            return base

        def reduce(items: Expression) -> Expression:
            total, item = new_variable(), new_variable()
            newer = equality.compare(
                operator,
                Value(Reference(item), base.type),
                Value(Reference(total), base.type),
            )
            first = operation("get", items, number(0))
            body = Choose(newer, Reference(item), Reference(total))
            return Fold(items, first, total, item, body)

        return Value(let(as_list(base), reduce), base.type)

    return Signature(find)


def _require_number(base: Value, call: Call) -> None:
    if base.type not in NUMBERS or not base.is_primitive:
        raise Unprocessable(
            f"The path calls {call.name}() with {base.choice or base.type}, which is not a number."
        )


FUNCTIONS: Mapping[str, Signature] = {
    "abs": Signature(_abs),
    "avg": Signature(_avg),
    "ceiling": _to_whole("ceiling"),
    "floor": _to_whole("floor"),
    "max": _extreme(">"),
    "min": _extreme("<"),
    "round": Signature(_round, 0, 1),
    "sum": Signature(_sum),
    "truncate": _to_whole("truncate"),
}
