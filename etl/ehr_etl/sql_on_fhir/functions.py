"""The FHIRPath functions that views may call, one registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ehr_etl.spark.sql_text import sql_literal as text
from ehr_etl.sql_on_fhir.elements import spark_type
from ehr_etl.sql_on_fhir.fhirpath import Call, Literal, Member, Node, Variable
from ehr_etl.sql_on_fhir.paths import Scope, choices, compile_path, condition, navigate
from ehr_etl.sql_on_fhir.values import Value, each, exists, keep, single
from ehr_fhir.errors import Unprocessable

_ID = "[A-Za-z0-9.-]{1,64}"

Function = Callable[[Value, tuple[Node, ...], Scope], Value]


def call(node: Call, scope: Scope) -> Value:
    """Compile a function call."""
    if node.name not in FUNCTIONS:
        raise Unprocessable(f"The path calls {node.name}(), which views do not support.")
    low, high, function = FUNCTIONS[node.name]
    if not low <= len(node.arguments) <= high:
        raise Unprocessable(f"The path calls {node.name}() with a wrong number of arguments.")
    base = scope.this if node.base is None else compile_path(node.base, scope)
    return function(base, node.arguments, scope)


def _where(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    return keep(base, lambda one: condition(arguments[0], scope.at(one)))


def _exists(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    if base.choice is not None:
        return Value(" OR ".join(f"({exists(one)})" for one in choices(base)), "boolean")
    return Value(f"({exists(_where(base, arguments, scope) if arguments else base)})", "boolean")


def _empty(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    return Value(f"(NOT {_exists(base, (), scope).sql})", "boolean")


def _all(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    failing = keep(base, lambda one: f"NOT {condition(arguments[0], scope.at(one))}")
    return Value(f"(NOT {exists(failing)})", "boolean")


def _not(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    if base.type != "boolean":
        raise Unprocessable("The path calls not() on what is not a boolean.")
    return Value(f"(NOT ({single(base)}))", "boolean")


def _first(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    return replace(base, sql=f"get({base.sql}, 0)", many=False) if base.many else base


def _last(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    if not base.many:
        return base
    return replace(base, sql=f"get({base.sql}, size({base.sql}) - 1)", many=False)


def _count(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    if base.many:
        return Value(f"coalesce(size({base.sql}), 0)", "integer")
    return Value(f"CAST({exists(base)} AS INT)", "integer")


def _of_type(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    match arguments[0]:
        case Member(_, name):
            pass
        case _:
            raise Unprocessable("ofType() needs the name of a type.")
    if base.choice is None:
        if base.type != name:
            raise Unprocessable(f"The path asks {base.type} to be of type {name}.")
        return base
    for one in choices(base):
        if one.type == name:
            return one
    # R4 has no such choice: the path is empty for every resource.
    return Value(f"CAST(NULL AS {spark_type(name)})", name)


def _extension(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    url = text(_text(arguments[0], scope))
    found = navigate(base, "extension")
    return keep(found, lambda one: f"{navigate(one, 'url').sql} = {url}")


def _join(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    separator = text(_text(arguments[0], scope) if arguments else "")
    if not base.many:
        return Value(f"coalesce({base.sql}, '')", "string")
    return Value(f"coalesce(array_join({base.sql}, {separator}), '')", "string")


def _resource_key(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    return navigate(scope.root, "id")


def _reference_key(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
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
    return each(
        navigate(base, "reference"),
        lambda sql: f"nullif(regexp_extract({sql}, {pattern}, 1), '')",
        "id",
    )


def _substring(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
    start = single(compile_path(arguments[0], scope))
    length = f", {single(compile_path(arguments[1], scope))}" if len(arguments) > 1 else ""
    return Value(
        f"nullif(substring({single(base)}, CAST({start} AS INT) + 1{length}), '')", "string"
    )


def _to(type_name: str) -> Function:
    def convert(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
        return Value(f"try_cast({single(base)} AS {spark_type(type_name)})", type_name)

    return convert


def _test(sql_name: str) -> Function:
    def test(base: Value, arguments: tuple[Node, ...], scope: Scope) -> Value:
        other = single(compile_path(arguments[0], scope))
        return Value(f"{sql_name}({single(base)}, {other})", "boolean")

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
