"""What a FHIRPath compiles to: an expression, its FHIR type, and one value or many.

Empty is NULL for one value, NULL or an empty list for many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from ehr_etl.sql_on_fhir.decimals import is_exact, is_number
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    ElementTree,
    Expression,
    Fail,
    Filter,
    Items,
    Reference,
    new_variable,
    null,
    number,
    operation,
    share,
    transform,
)
from ehr_etl.sql_on_fhir.types import DECIMAL, PRIMITIVES, sql_type
from ehr_etl.view_faults import DECIMAL_NOT_EXACT, NOT_A_SINGLE_VALUE


@dataclass(frozen=True)
class Value:
    """A compiled path.

    `tree` is None where it was computed, `choice` names a `value[x]`. A `written` decimal is still
    the text of its digits. `resolved` marks what `resolve()` gave.
    """

    expression: Expression
    type: str
    many: bool = False
    tree: ElementTree | None = None
    choice: str | None = None
    written: bool = False
    resolved: bool = False

    @property
    def is_primitive(self) -> bool:
        """Say whether the value is a primitive of FHIR."""
        return self.choice is None and self.type in PRIMITIVES

    @property
    def is_empty(self) -> bool:
        """Say whether it is the literal `{}`, which has no type of its own."""
        return isinstance(self.expression, Constant) and self.expression.value is None


def constant_value(value: str | bool | int | Decimal | None, type_name: str) -> Value:
    """Return a constant."""
    return Value(Constant(value, sql_type(type_name)), type_name)


def map_values(value: Value, function: Callable[[Expression], Expression], type_name: str) -> Value:
    """Apply a function to one value or to each of many."""
    if not value.many:
        return Value(function(value.expression), type_name)
    mapped = operation("compact", transform(value.expression, function))
    return Value(mapped, type_name, many=True)


def filter_values(value: Value, condition: Callable[[Value, Expression], Expression]) -> Value:
    """Keep what meets a condition of the item and its index."""
    if not value.many:
        kept = share(
            value.expression,
            lambda item: Choose(condition(replace(value, expression=item), number(0)), item),
        )
        return replace(value, expression=kept)
    name, index = new_variable(), new_variable()
    item = replace(value, expression=Reference(name), many=False)
    kept_items = Filter(value.expression, name, index, condition(item, Reference(index)))
    return replace(value, expression=kept_items)


def single_value(value: Value) -> Expression:
    """Return the only value; more than one is an error when the view runs."""
    value = as_number(value)
    if not value.many:
        return value.expression
    return share(
        value.expression,
        lambda items: Choose(
            operation("gt", size(items), number(1)),
            Fail(NOT_A_SINGLE_VALUE),
            operation("get", items, number(0)),
        ),
    )


def as_list(value: Value) -> Expression:
    """Return the values as a list without NULLs, never NULL itself when of a computed one."""
    value = as_number(value)
    if value.many:
        return value.expression
    return operation("compact", Items((value.expression,)))


def as_number(value: Value) -> Value:
    """Return a decimal as a number: exact, or an error when the view runs."""
    if not value.written:
        return value
    if not value.many:
        return Value(_exact_decimal(value.expression), value.type)
    return Value(transform(value.expression, _exact_decimal), value.type, many=True)


def exists(value: Value) -> Expression:
    """Return whether there is any value; never NULL."""
    if value.many:
        return operation("gt", size(value.expression), number(0))
    return operation("is_present", value.expression)


def size(items: Expression) -> Expression:
    """Return the number of items; 0 for NULL."""
    return operation("coalesce", operation("size", items), number(0))


def _exact_decimal(digits: Expression) -> Expression:
    """Return the number of a JSON text, which is refused unless 12 places and 26 digits hold it."""
    exact = Choose(is_exact(digits), Cast(digits, DECIMAL), Fail(DECIMAL_NOT_EXACT))
    return Choose(is_number(digits), exact, null(DECIMAL))
