"""The FHIRPath functions that views may call, one registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ehr_etl.spark.sql_text import sql_literal
from ehr_etl.sql_on_fhir.paths import (
    Scope,
    choice_element,
    choice_elements,
    compile_condition,
    compile_path,
    navigate,
)
from ehr_etl.sql_on_fhir.spark_types import spark_type
from ehr_etl.sql_on_fhir.values import (
    SqlValue,
    exists_sql,
    filter_values,
    map_values,
    single_value,
)
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call, Literal, Member, Node, Variable

_ID = "[A-Za-z0-9.-]{1,64}"

Function = Callable[[SqlValue, Call, Scope], SqlValue]


def compile_call(call: Call, scope: Scope) -> SqlValue:
    """Compile a function call."""
    if call.name not in FUNCTIONS:
        raise Unprocessable(f"The path calls {call.name}(), which views do not support.")
    low, high, function = FUNCTIONS[call.name]
    if not low <= len(call.arguments) <= high:
        raise Unprocessable(f"The path calls {call.name}() with a wrong number of arguments.")
    base = scope.this if call.base is None else compile_path(call.base, scope)
    return function(base, call, scope)


def _where(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    (criterion,) = call.arguments
    return filter_values(base, lambda item: compile_condition(criterion, scope.with_focus(item)))


def _exists(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    if base.choice is not None:
        typed = (f"({exists_sql(element)})" for element in choice_elements(base))
        return SqlValue(" OR ".join(typed), "boolean")
    kept = _where(base, call, scope) if call.arguments else base
    return SqlValue(f"({exists_sql(kept)})", "boolean")


def _empty(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    return SqlValue(f"(NOT {_exists(base, call, scope).sql})", "boolean")


def _all(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    (criterion,) = call.arguments
    failing = filter_values(
        base, lambda item: f"NOT {compile_condition(criterion, scope.with_focus(item))}"
    )
    return SqlValue(f"(NOT {exists_sql(failing)})", "boolean")


def _not(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    if base.type != "boolean":
        raise Unprocessable("The path calls not() on what is not a boolean.")
    return SqlValue(f"(NOT ({single_value(base)}))", "boolean")


def _first(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    return replace(base, sql=f"get({base.sql}, 0)", many=False) if base.many else base


def _last(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    if not base.many:
        return base
    return replace(base, sql=f"get({base.sql}, size({base.sql}) - 1)", many=False)


def _count(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    if base.many:
        return SqlValue(f"coalesce(size({base.sql}), 0)", "integer")
    return SqlValue(f"CAST({exists_sql(base)} AS INT)", "integer")


def _of_type(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    assert call.type is not None  # noqa: S101 - the grammar has `ofType` name a type
    name = call.type.name
    if base.choice is None:
        if base.type != name:
            raise Unprocessable(f"The path asks {base.type} to be of type {name}.")
        return base
    if element := choice_element(base, name):
        return element
    # R4 has no such choice: the path is empty for every resource.
    return SqlValue(f"CAST(NULL AS {spark_type(name)})", name)


def _extension(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    url = sql_literal(_fixed_text(call.arguments[0], scope))
    found = navigate(base, "extension")
    return filter_values(found, lambda item: f"{navigate(item, 'url').sql} = {url}")


def _join(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    separator = sql_literal(_fixed_text(call.arguments[0], scope) if call.arguments else "")
    if not base.many:
        return SqlValue(f"coalesce({base.sql}, '')", "string")
    return SqlValue(f"coalesce(array_join({base.sql}, {separator}), '')", "string")


def _resource_key(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    return navigate(scope.root, "id")


def _reference_key(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    match call.arguments:
        case ():
            kind = "[A-Z][A-Za-z]+"
        case (Member(base=None, name=name),):
            kind = name
        case _:
            raise Unprocessable("getReferenceKey() takes the name of a resource type.")
    if base.type != "Reference":
        raise Unprocessable("getReferenceKey() is called on what is not a Reference.")
    pattern = sql_literal(f"^(?:.*/)?{kind}/({_ID})(?:/_history/.+)?$")
    return map_values(
        navigate(base, "reference"),
        lambda sql: f"nullif(regexp_extract({sql}, {pattern}, 1), '')",
        "id",
    )


def _substring(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
    start, *length = (single_value(compile_path(node, scope)) for node in call.arguments)
    # SQL counts characters from 1, FHIRPath from 0.
    arguments = ", ".join((single_value(base), f"CAST({start} AS INT) + 1", *length))
    return SqlValue(f"nullif(substring({arguments}), '')", "string")


def _to(type_name: str) -> Function:
    def convert(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
        return SqlValue(f"try_cast({single_value(base)} AS {spark_type(type_name)})", type_name)

    return convert


def _test(sql_name: str) -> Function:
    def test(base: SqlValue, call: Call, scope: Scope) -> SqlValue:
        other = single_value(compile_path(call.arguments[0], scope))
        return SqlValue(f"{sql_name}({single_value(base)}, {other})", "boolean")

    return test


def _fixed_text(node: Node, scope: Scope) -> str:
    """Return a text argument known when the view compiles: a literal or a constant."""
    match node:
        case Literal(values=(str() as value,)):
            return value
        case Variable(name=name):
            constant = scope.constants.get(name)
            if constant is not None and isinstance(constant.value, str):
                return constant.value
    raise Unprocessable("The path calls a function with an argument that is not a fixed text.")


FUNCTIONS: Mapping[str, tuple[int, int, Function]] = {
    "all": (1, 1, _all),
    "contains": (1, 1, _test("contains")),
    "count": (0, 0, _count),
    "empty": (0, 0, _empty),
    "endsWith": (1, 1, _test("endswith")),
    "exists": (0, 1, _exists),
    "extension": (1, 1, _extension),
    "first": (0, 0, _first),
    "getReferenceKey": (0, 1, _reference_key),
    "getResourceKey": (0, 0, _resource_key),
    "join": (0, 1, _join),
    "last": (0, 0, _last),
    "not": (0, 0, _not),
    # Its type is part of the call, as of `is` and `as`.
    "ofType": (0, 0, _of_type),
    "startsWith": (1, 1, _test("startswith")),
    "substring": (1, 2, _substring),
    "toDecimal": (0, 0, _to("decimal")),
    "toInteger": (0, 0, _to("integer")),
    "toString": (0, 0, _to("string")),
    "where": (1, 1, _where),
}
