"""Equality and order of values (FHIRPath N1 §6.1 and §6.2): an expression, or NULL for empty."""

from __future__ import annotations

from dataclasses import replace

from ehr_etl.sql_on_fhir import temporal_order
from ehr_etl.sql_on_fhir.expressions import (
    FALSE,
    Choose,
    Expression,
    Filter,
    Reference,
    is_true,
    let,
    new_variable,
    null,
    number,
    operation,
    share,
)
from ehr_etl.sql_on_fhir.quantities import compare_quantities
from ehr_etl.sql_on_fhir.types import (
    BOOLEAN,
    DATE_TYPES,
    NUMBERS,
    QUANTITY_TYPES,
    TEMPORAL_TYPES,
    TEXT_TYPES,
)
from ehr_etl.sql_on_fhir.values import (
    Value,
    as_list,
    as_number,
    exists,
    single_value,
    size,
)
from ehr_fhir.errors import Unprocessable

_ORDER = {"<": "lt", ">": "gt", "<=": "le", ">=": "ge"}


def equal(left: Value, right: Value) -> Expression:
    """Compare; values of unlike kinds and collections of unlike length differ."""
    if left.is_empty or right.is_empty:
        return null(BOOLEAN)
    if {_kind(left), _kind(right)} in ({"text", "date"}, {"text", "time"}):
        raise Unprocessable(
            f"The path compares {left.type} with {right.type}: write a date as @2015-01-31."
        )
    if _kind(left) != _kind(right):
        # Of unlike kinds nothing is equal; of nothing, nothing is known.
        present = operation("and", exists(left), exists(right))
        return Choose(present, FALSE)
    if not left.many and not right.many:
        return _equal_items(left, right)
    return let(
        as_list(left),
        lambda first: let(as_list(right), lambda second: _equal_lists(left, right, first, second)),
    )


def compare(operator: str, left: Value, right: Value) -> Expression:
    """Return whether `<`, `>`, `<=` or `>=` holds of two single values."""
    if left.is_empty or right.is_empty:
        return null(BOOLEAN)
    name = _ORDER[operator]
    if _kind(left) != _kind(right) or _kind(left) == "boolean":
        raise Unprocessable(f"The path compares {left.type} with {right.type}.")
    if _kind(left) in ("date", "time"):
        return operation(name, temporal_order.order(left, right), number(0))
    if _kind(left) == "quantity":
        return compare_quantities(name, left, right)
    return operation(name, single_value(left), single_value(right))


def distinct(value: Value) -> Value:
    """Keep the first of values that are equal, in their order."""
    if not value.many:
        return value
    _kind(value)
    value = as_number(value)
    kept = share(value.expression, lambda items: _first_of_equal(value, items))
    return replace(value, expression=kept)


def _first_of_equal(value: Value, items: Expression) -> Expression:
    first, first_index = new_variable(), new_variable()
    other, other_index = new_variable(), new_variable()
    same = is_true(_equal_items(_item(value, Reference(other)), _item(value, Reference(first))))
    earlier = operation("lt", Reference(other_index), Reference(first_index))
    before = Filter(items, other, other_index, operation("and", earlier, same))
    return Filter(items, first, first_index, operation("eq", size(before), number(0)))


def is_member(item: Value, collection: Value) -> Expression:
    """Return whether a collection has an item (`in`, N1 §6.4.2); NULL if there is no item."""
    if item.is_empty:
        return null(BOOLEAN)
    if _kind(item) != _kind(collection):
        return Choose(exists(item), FALSE)

    def contains_item(sought: Expression) -> Expression:
        name = new_variable()
        same = _equal_items(_item(collection, Reference(name)), _item(item, sought))
        matching = Filter(as_list(collection), name, None, same)
        return Choose(operation("is_present", sought), operation("gt", size(matching), number(0)))

    return let(single_value(item), contains_item)


def _equal_lists(left: Value, right: Value, first: Expression, second: Expression) -> Expression:
    """Compare two lists item by item; NULL if either is empty."""
    index, name = new_variable(), new_variable()
    pair = _equal_items(
        _item(left, Reference(name)),
        _item(right, operation("get", second, Reference(index))),
    )
    unlike = Filter(first, name, index, operation("not", is_true(pair)))
    unknown = Filter(first, name, index, operation("not", operation("is_present", pair)))
    either_empty = operation(
        "or",
        operation("eq", size(first), number(0)),
        operation("eq", size(second), number(0)),
    )
    same_size = operation("eq", size(first), size(second))
    return Choose(
        either_empty,
        null(BOOLEAN),
        Choose(
            operation("not", same_size),
            FALSE,
            Choose(
                operation("gt", size(unknown), number(0)),
                null(BOOLEAN),
                operation("eq", size(unlike), number(0)),
            ),
        ),
    )


def _equal_items(left: Value, right: Value) -> Expression:
    kind = _kind(left)
    if kind in ("date", "time"):
        return operation("eq", temporal_order.order(left, right), number(0))
    if kind == "quantity":
        return compare_quantities("eq", left, right)
    return operation("eq", single_value(left), single_value(right))


def _item(value: Value, expression: Expression) -> Value:
    value = as_number(value)
    return replace(value, expression=expression, many=False)


def _kind(value: Value) -> str:
    """Return the family in which values compare."""
    if value.choice is None:
        for kind, types in _KINDS:
            if value.type in types:
                return kind
    raise Unprocessable(
        "The path compares values that are neither primitives nor quantities: name an element,"
        " or ofType() for an element of several types."
    )


_KINDS = (
    ("boolean", frozenset({"boolean"})),
    ("number", NUMBERS),
    ("time", frozenset({"time"})),
    ("date", DATE_TYPES),
    ("quantity", QUANTITY_TYPES),
    ("text", TEXT_TYPES - TEMPORAL_TYPES),
)
