"""The FHIRPath functions that views may call, one registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ehr_etl.spark.sql_text import sql_literal as text
from ehr_etl.sql_on_fhir.elements import spark_type
from ehr_etl.sql_on_fhir.fhirpath import Call, Literal, Member, Node, Variable
from ehr_etl.sql_on_fhir.paths import (
    Scope,
    choice_elements,
    compile_condition,
    compile_path,
    navigate,
)
from ehr_etl.sql_on_fhir.values import (
    SqlValue,
    exists_sql,
    filter_values,
    map_values,
    single_value,
)
from ehr_fhir.errors import Unprocessable

_ID = "[A-Za-z0-9.-]{1,64}"

Function = Callable[[SqlValue, tuple[Node, ...], Scope], SqlValue]


def compile_call(node: Call, scope: Scope) -> SqlValue:
    """Compile a function call."""
    if node.name not in FUNCTIONS:
        raise Unprocessable(f"The path calls {node.name}(), which views do not support.")
    low, high, function = FUNCTIONS[node.name]
    if not low <= len(node.arguments) <= high:
        raise Unprocessable(f"The path calls {node.name}() with a wrong number of arguments.")
    base = scope.this if node.base is None else compile_path(node.base, scope)
    return function(base, node.arguments, scope)


def _where(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    return filter_values(base, lambda one: compile_condition(arguments[0], scope.with_focus(one)))


def _exists(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    if base.choice is not None:
        return SqlValue(
            " OR ".join(f"({exists_sql(one)})" for one in choice_elements(base)), "boolean"
        )
    return SqlValue(
        f"({exists_sql(_where(base, arguments, scope) if arguments else base)})", "boolean"
    )


def _empty(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    return SqlValue(f"(NOT {_exists(base, (), scope).sql})", "boolean")


def _all(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    failing = filter_values(
        base, lambda one: f"NOT {compile_condition(arguments[0], scope.with_focus(one))}"
    )
    return SqlValue(f"(NOT {exists_sql(failing)})", "boolean")


def _not(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    if base.type != "boolean":
        raise Unprocessable("The path calls not() on what is not a boolean.")
    return SqlValue(f"(NOT ({single_value(base)}))", "boolean")


def _first(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    return replace(base, sql=f"get({base.sql}, 0)", many=False) if base.many else base


def _last(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    if not base.many:
        return base
    return replace(base, sql=f"get({base.sql}, size({base.sql}) - 1)", many=False)


def _count(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    if base.many:
        return SqlValue(f"coalesce(size({base.sql}), 0)", "integer")
    return SqlValue(f"CAST({exists_sql(base)} AS INT)", "integer")


def _of_type(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    match arguments[0]:
        case Member(_, name):
            pass
        case _:
            raise Unprocessable("ofType() needs the name of a type.")
    if base.choice is None:
        if base.type != name:
            raise Unprocessable(f"The path asks {base.type} to be of type {name}.")
        return base
    for one in choice_elements(base):
        if one.type == name:
            return one
    # R4 has no such choice: the path is empty for every resource.
    return SqlValue(f"CAST(NULL AS {spark_type(name)})", name)


def _extension(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    url = text(_text(arguments[0], scope))
    found = navigate(base, "extension")
    return filter_values(found, lambda one: f"{navigate(one, 'url').sql} = {url}")


def _join(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    separator = text(_text(arguments[0], scope) if arguments else "")
    if not base.many:
        return SqlValue(f"coalesce({base.sql}, '')", "string")
    return SqlValue(f"coalesce(array_join({base.sql}, {separator}), '')", "string")


def _resource_key(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    return navigate(scope.root, "id")


def _reference_key(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    match arguments:
        case ():
            kind = "[A-Z][A-Za-z]+"
        case (Member(None, name),):
            kind = name
        case _:
            raise Unprocessable("getReferenceKey() takes the name of a resource type.")
    if base.type != "Reference":
        raise Unprocessable("getReferenceKey() is called on what is not a Reference.")
    pattern = text(f"^(?:.*/)?{kind}/({_ID})(?:/_history/.+)?$")
    return map_values(
        navigate(base, "reference"),
        lambda sql: f"nullif(regexp_extract({sql}, {pattern}, 1), '')",
        "id",
    )


def _substring(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
    start = single_value(compile_path(arguments[0], scope))
    length = f", {single_value(compile_path(arguments[1], scope))}" if len(arguments) > 1 else ""
    return SqlValue(
        f"nullif(substring({single_value(base)}, CAST({start} AS INT) + 1{length}), '')", "string"
    )


def _to(type_name: str) -> Function:
    def convert(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
        return SqlValue(f"try_cast({single_value(base)} AS {spark_type(type_name)})", type_name)

    return convert


def _test(sql_name: str) -> Function:
    def test(base: SqlValue, arguments: tuple[Node, ...], scope: Scope) -> SqlValue:
        other = single_value(compile_path(arguments[0], scope))
        return SqlValue(f"{sql_name}({single_value(base)}, {other})", "boolean")

    return test


def _text(node: Node, scope: Scope) -> str:
    """Return a text argument known when the view compiles: a literal or a constant."""
    match node:
        case Literal(str() as value, _):
            return value
        case Variable(name):
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
    "ofType": (1, 1, _of_type),
    "startsWith": (1, 1, _test("startswith")),
    "substring": (1, 2, _substring),
    "toDecimal": (0, 0, _to("decimal")),
    "toInteger": (0, 0, _to("integer")),
    "toString": (0, 0, _to("string")),
    "where": (1, 1, _where),
}
