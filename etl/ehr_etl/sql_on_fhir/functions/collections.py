"""Existence, filtering, subsetting and combining (FHIRPath N1 §5.1 to §5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ehr_etl.sql_on_fhir import equality
from ehr_etl.sql_on_fhir.elements import choice_exists
from ehr_etl.sql_on_fhir.expressions import (
    Cast,
    Choose,
    Constant,
    Expression,
    Reference,
    Transform,
    is_true,
    new_variable,
    number,
    operation,
    share,
)
from ehr_etl.sql_on_fhir.functions.signature import Signature, argument
from ehr_etl.sql_on_fhir.operators import common_type, join_values
from ehr_etl.sql_on_fhir.paths import Scope, compile_condition, compile_path
from ehr_etl.sql_on_fhir.types import BOOLEAN, INTEGER, NUMBERS, sql_type
from ehr_etl.sql_on_fhir.values import (
    Value,
    as_list,
    as_number,
    constant_value,
    exists,
    filter_values,
    single_value,
    size,
)
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call


def _where(base: Value, call: Call, scope: Scope) -> Value:
    (criterion,) = call.arguments
    return filter_values(
        base, lambda item, index: compile_condition(criterion, scope.with_item(item, index))
    )


def _select(base: Value, call: Call, scope: Scope) -> Value:
    (projection,) = call.arguments
    if not base.many:
        return compile_path(projection, scope.with_item(base, number(0)))
    name, index = new_variable(), new_variable()
    item = replace(base, expression=Reference(name), many=False)
    inner = compile_path(projection, scope.with_item(item, Reference(index)))
    steps = operation("compact", Transform(base.expression, name, index, inner.expression))
    return replace(
        inner, expression=operation("flatten", steps) if inner.many else steps, many=True
    )


def _exists(base: Value, call: Call, scope: Scope) -> Value:
    if base.choice is not None:
        if call.arguments:
            raise Unprocessable(
                f"The path filters {base.choice}: say of which type by ofType() first."
            )
        return Value(choice_exists(base), "boolean")
    kept = _where(base, call, scope) if call.arguments else base
    return Value(exists(kept), "boolean")


def _empty(base: Value, call: Call, scope: Scope) -> Value:
    return Value(operation("not", _exists(base, call, scope).expression), "boolean")


def _all(base: Value, call: Call, scope: Scope) -> Value:
    (criterion,) = call.arguments
    failing = filter_values(
        base,
        lambda item, index: operation(
            "not", compile_condition(criterion, scope.with_item(item, index))
        ),
    )
    return Value(operation("not", exists(failing)), "boolean")


def _test_all(wanted: bool, every: bool) -> Signature:
    """Return allTrue, anyTrue, allFalse or anyFalse."""

    def test(base: Value, call: Call, scope: Scope) -> Value:
        if base.type != "boolean":
            raise Unprocessable(f"The path calls {call.name}() on what is not a boolean.")
        sought = Constant(wanted != every, BOOLEAN)
        matching = filter_values(base, lambda item, _: operation("eq", item.expression, sought))
        found = exists(matching)
        return Value(operation("not", found) if every else found, "boolean")

    return Signature(test)


def _not(base: Value, call: Call, scope: Scope) -> Value:
    if base.type != "boolean":
        raise Unprocessable("The path calls not() on what is not a boolean.")
    return Value(operation("not", single_value(base)), "boolean")


def _first(base: Value, call: Call, scope: Scope) -> Value:
    return _item_at(base, number(0))


def _last(base: Value, call: Call, scope: Scope) -> Value:
    last = operation("subtract", size(base.expression), number(1))
    return _item_at(base, last) if base.many else base


def _item_at(base: Value, place: Expression) -> Value:
    if not base.many:
        return base
    return replace(base, expression=operation("get", base.expression, place), many=False)


def _single(base: Value, call: Call, scope: Scope) -> Value:
    return Value(single_value(base), base.type) if base.is_primitive else base


def _cut(name: str) -> Signature:
    """Return tail, skip or take: the items whose index is on one side of a number."""

    def cut(base: Value, call: Call, scope: Scope) -> Value:
        limit = single_value(argument(call, 0, scope)) if call.arguments else number(1)
        side = "lt" if name == "take" else "ge"
        return filter_values(base, lambda item, index: operation(side, index, limit))

    return Signature(cut, 0 if name == "tail" else 1, 0 if name == "tail" else 1)


def _count(base: Value, call: Call, scope: Scope) -> Value:
    if base.many:
        return Value(size(base.expression), "integer")
    return Value(Cast(exists(base), INTEGER), "integer")


def _distinct(base: Value, call: Call, scope: Scope) -> Value:
    return equality.distinct(base)


def _is_distinct(base: Value, call: Call, scope: Scope) -> Value:
    if not base.many:
        return constant_value(True, "boolean")
    whole = size(base.expression)
    return Value(operation("eq", whole, size(equality.distinct(base).expression)), "boolean")


def _union(base: Value, call: Call, scope: Scope) -> Value:
    return equality.distinct(join_values(base, argument(call, 0, scope)))


def _combine(base: Value, call: Call, scope: Scope) -> Value:
    return join_values(base, argument(call, 0, scope))


def _filter_by_other(*, keep: bool, unique: bool) -> Signature:
    """Return intersect or exclude."""

    def apply(base: Value, call: Call, scope: Scope) -> Value:
        other = argument(call, 0, scope)
        if not base.is_empty and not other.is_empty:
            common_type(base, other)
        kept = filter_values(as_number(base), lambda item, _: _has(other, item, keep=keep))
        return equality.distinct(kept) if unique else kept

    return Signature(apply, 1, 1)


def _subset(*, of_argument: bool) -> Signature:
    """Return subsetOf or supersetOf."""

    def test(base: Value, call: Call, scope: Scope) -> Value:
        other = argument(call, 0, scope)
        part, whole = (base, other) if of_argument else (other, base)
        outside = filter_values(as_number(part), lambda item, _: _has(whole, item, keep=False))
        return Value(operation("not", exists(outside)), "boolean")

    return Signature(test, 1, 1)


def _has(collection: Value, item: Value, *, keep: bool) -> Expression:
    member = is_true(equality.is_member(item, collection))
    return member if keep else operation("not", member)


def _iif(base: Value, call: Call, scope: Scope) -> Value:
    """Choose by a criterion; one of an empty condition is as of a false one (N1 §5.8)."""
    if base.many:
        raise Unprocessable("The path calls iif() on a collection: name one item.")
    if call.base is None:
        return _choose(call, scope)
    return _with_item(base, lambda item: _choose(call, scope.with_item(item, number(0))))


def _with_item(base: Value, body: Callable[[Value], Value]) -> Value:
    """Return what is made of one item, which is named where it is long."""
    made: list[Value] = []

    def build(item: Expression) -> Expression:
        made.append(body(replace(base, expression=item)))
        return made[-1].expression

    expression = share(base.expression, build)
    return replace(made[-1], expression=expression)


def _choose(call: Call, inner: Scope) -> Value:
    condition = compile_condition(call.arguments[0], inner)
    yes = compile_path(call.arguments[1], inner)
    no = compile_path(call.arguments[2], inner) if len(call.arguments) == 3 else None
    if no is None or no.is_empty:
        kept = as_number(yes)
        return replace(kept, expression=Choose(condition, kept.expression))
    if yes.is_empty:
        other = as_number(no)
        return replace(other, expression=Choose(operation("not", condition), other.expression))
    type_name = _type_of_either(yes, no)
    if yes.many or no.many:
        lists = Choose(condition, as_list(yes), as_list(no))
        return Value(lists, type_name, many=True)
    kind = sql_type(type_name)
    sides = (Cast(single_value(side), kind) for side in (yes, no))
    return Value(Choose(condition, *sides), type_name)


def _type_of_either(yes: Value, no: Value) -> str:
    if not (yes.is_primitive and no.is_primitive):
        raise Unprocessable("The results of iif() are not primitives: name an element of each.")
    if {yes.type, no.type} <= NUMBERS and "decimal" in (yes.type, no.type):
        return "decimal"
    return common_type(yes, no)


def _has_value(base: Value, call: Call, scope: Scope) -> Value:
    if not base.many:
        return Value(exists(base), "boolean")
    return Value(operation("eq", size(base.expression), number(1)), "boolean")


FUNCTIONS: Mapping[str, Signature] = {
    "all": Signature(_all, 1, 1),
    "allFalse": _test_all(False, True),
    "allTrue": _test_all(True, True),
    "anyFalse": _test_all(False, False),
    "anyTrue": _test_all(True, False),
    "combine": Signature(_combine, 1, 1),
    "count": Signature(_count),
    "distinct": Signature(_distinct),
    "empty": Signature(_empty),
    "exclude": _filter_by_other(keep=False, unique=False),
    "exists": Signature(_exists, 0, 1),
    "first": Signature(_first),
    "hasValue": Signature(_has_value),
    "iif": Signature(_iif, 2, 3),
    "intersect": _filter_by_other(keep=True, unique=True),
    "isDistinct": Signature(_is_distinct),
    "last": Signature(_last),
    "not": Signature(_not),
    "select": Signature(_select, 1, 1),
    "single": Signature(_single),
    "skip": _cut("skip"),
    "subsetOf": _subset(of_argument=True),
    "supersetOf": _subset(of_argument=False),
    "tail": _cut("tail"),
    "take": _cut("take"),
    "union": Signature(_union, 1, 1),
    "where": Signature(_where, 1, 1),
}
