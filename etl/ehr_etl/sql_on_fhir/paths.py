"""FHIRPath trees to SQL: elements, variables, indexes and operators (functions: functions.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from ehr_etl.sql_on_fhir.definition import Constant
from ehr_etl.sql_on_fhir.spark_types import NUMBERS, TEXT_TYPES
from ehr_etl.sql_on_fhir.values import (
    SqlValue,
    filter_values,
    literal_value,
    new_variable,
    single_value,
)
from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    Special,
    TypeTest,
    Unary,
    Variable,
)
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time

_ARITHMETIC = {"+": "try_add", "-": "try_subtract", "*": "try_multiply", "/": "try_divide"}
_LOGIC = {"and": "AND", "or": "OR"}


@dataclass(frozen=True)
class Scope:
    """What a path may refer to."""

    this: SqlValue
    root: SqlValue
    constants: Mapping[str, Constant]
    row_index: str = "0"

    def with_focus(self, focus: SqlValue, row_index: str | None = None) -> Scope:
        """Return the scope with another focus."""
        return replace(self, this=focus, row_index=row_index or self.row_index)


def compile_path(node: Node, scope: Scope) -> SqlValue:
    """Compile a path in a scope."""
    match node:
        case Literal():
            return _literal(node)
        case Special(name="$this"):
            return scope.this
        case Variable(name=name):
            return _variable(name, scope)
        case Member(base=None, name=name):
            if name == scope.root.type and scope.this.type == name:
                return scope.this
            return navigate(scope.this, name)
        case Member(base=Node() as base, name=name):
            return navigate(compile_path(base, scope), name)
        case Index(base=base, index=index):
            return _indexed(compile_path(base, scope), compile_path(index, scope))
        case Unary(operator=sign, operand=operand):
            inner = compile_path(operand, scope)
            signed = f"(- {single_value(inner)})" if sign == "-" else single_value(inner)
            return SqlValue(signed, _number(inner))
        case Binary(operator=operator, left=left, right=right):
            return _binary(operator, compile_path(left, scope), compile_path(right, scope))
        case TypeTest(operator=operator):
            raise _unsupported_operator(operator)
        case Call():
            # Functions compile their arguments, so the two modules need each other.
            from ehr_etl.sql_on_fhir.functions import compile_call

            return compile_call(node, scope)
    raise Unprocessable("The path uses FHIRPath that views do not support.")


def navigate(base: SqlValue, name: str) -> SqlValue:
    """Step from a value to one of its elements."""
    known = definitions.json_elements(base.type)
    element = known.get(name)
    if base.field is None or base.choice is not None or element is None:
        if base.choice is None and any(e.is_choice and e.name == name for e in known.values()):
            return replace(base, choice=name)
        raise Unprocessable(f"The path asks for {name!r}, which {base.type} does not have.")
    below = base.field.add_child(element)
    if not base.many:
        return SqlValue(f"{base.sql}.`{name}`", element.type, element.repeats, below)
    variable = new_variable()
    steps = f"array_compact(transform({base.sql}, {variable} -> {variable}.`{name}`))"
    return SqlValue(f"flatten({steps})" if element.repeats else steps, element.type, True, below)


def choice_elements(value: SqlValue) -> list[SqlValue]:
    """Return the typed elements of a `value[x]`."""
    return [navigate(replace(value, choice=None), element.key) for element in _choices(value)]


def choice_element(value: SqlValue, type_name: str) -> SqlValue | None:
    """Return a `value[x]` as one of its datatypes; None where R4 does not give it that type."""
    for element in _choices(value):
        if element.type == type_name:
            return navigate(replace(value, choice=None), element.key)
    return None


def compile_condition(node: Node, scope: Scope) -> str:
    """Compile a criterion to SQL that is true or false, never NULL."""
    value = compile_path(node, scope)
    if value.type != "boolean":
        raise Unprocessable("A criterion of the view is not a boolean: add .exists() to its path.")
    return f"coalesce({single_value(value)}, false)"


def _choices(value: SqlValue) -> list[JsonElement]:
    known = definitions.json_elements(value.type).values()
    return [element for element in known if element.is_choice and element.name == value.choice]


def _literal(node: Literal) -> SqlValue:
    match node.values:
        case ():
            return literal_value(None, "string")
        case (bool() as value,):
            return literal_value(value, "boolean")
        case (int() as value,):
            return literal_value(value, "integer")
        case (Decimal() as value,):
            return literal_value(value, "decimal")
        case (str() as value,):
            return literal_value(value, "string")
        case (Time(),):
            return literal_value(node.source, "time")
        case (Date(),):
            return literal_value(node.source, "date")
        case (DateTime(),):
            return literal_value(node.source, "dateTime")
    raise Unprocessable("The path has a quantity written out, which views do not support.")


def _variable(name: str, scope: Scope) -> SqlValue:
    if name == "rowIndex":
        return SqlValue(scope.row_index, "integer")
    if name in ("resource", "rootResource", "context"):
        return scope.root
    if name not in scope.constants:
        raise Unprocessable(f"The path uses %{name}, which the view does not define.")
    constant = scope.constants[name]
    return literal_value(constant.value, constant.type)


def _indexed(base: SqlValue, index: SqlValue) -> SqlValue:
    if base.many:
        return replace(base, sql=f"get({base.sql}, {single_value(index)})", many=False)
    return filter_values(base, lambda item: f"{single_value(index)} = 0")


def _binary(operator: str, left: SqlValue, right: SqlValue) -> SqlValue:
    if operator in _LOGIC:
        return SqlValue(f"({_truth(left)} {_LOGIC[operator]} {_truth(right)})", "boolean")
    if operator == "xor":
        return SqlValue(f"({_truth(left)} != {_truth(right)})", "boolean")
    if operator == "implies":
        return SqlValue(f"(NOT {_truth(left)} OR {_truth(right)})", "boolean")
    if operator in ("=", "!="):
        same = _equal(left, right)
        return SqlValue(same if operator == "=" else f"(NOT {same})", "boolean")
    if operator in ("<", ">", "<=", ">="):
        if (left.type in NUMBERS) != (right.type in NUMBERS):
            raise Unprocessable(f"The path compares {left.type} with {right.type}.")
        return SqlValue(f"({single_value(left)} {operator} {single_value(right)})", "boolean")
    if operator == "+" and left.type in TEXT_TYPES and right.type in TEXT_TYPES:
        return SqlValue(f"concat({single_value(left)}, {single_value(right)})", "string")
    if operator == "&":
        parts = (f"coalesce({single_value(side)}, '')" for side in (left, right))
        return SqlValue(f"concat({', '.join(parts)})", "string")
    if operator in _ARITHMETIC:
        return _arithmetic(operator, left, right)
    raise _unsupported_operator(operator)


def _arithmetic(operator: str, left: SqlValue, right: SqlValue) -> SqlValue:
    whole = {_number(left), _number(right)} == {"integer"} and operator != "/"
    kind = "BIGINT" if whole else "DECIMAL(38,12)"
    sides = ", ".join(f"CAST({single_value(side)} AS {kind})" for side in (left, right))
    return SqlValue(
        f"CAST({_ARITHMETIC[operator]}({sides}) AS {kind})", "integer64" if whole else "decimal"
    )


def _equal(left: SqlValue, right: SqlValue) -> str:
    """Compare; values of unlike kinds and collections of unlike length differ (FHIRPath §6.1)."""
    if not (left.is_primitive and right.is_primitive):
        raise Unprocessable("The path compares values that are not primitives.")
    if (left.type in TEXT_TYPES) != (right.type in TEXT_TYPES) or (left.type == "boolean") != (
        right.type == "boolean"
    ):
        return "false"
    if left.many and right.many:
        unknown = f"coalesce(size({left.sql}), 0) = 0 OR coalesce(size({right.sql}), 0) = 0"
        return f"CASE WHEN {unknown} THEN NULL ELSE {left.sql} = {right.sql} END"
    for many, single in ((left, right), (right, left)):
        if many.many:
            return (
                f"CASE WHEN coalesce(size({many.sql}), 0) > 1 AND ({single.sql}) IS NOT NULL"
                f" THEN false ELSE get({many.sql}, 0) = {single.sql} END"
            )
    return f"({left.sql} = {right.sql})"


def _unsupported_operator(operator: str) -> Unprocessable:
    return Unprocessable(f"The path uses the operator {operator!r}, which views do not support.")


def _truth(value: SqlValue) -> str:
    """Return a boolean operand; any other single value counts as true (FHIRPath §4.5)."""
    if value.type == "boolean":
        return f"({single_value(value)})"
    return f"nullif(({single_value(value)}) IS NOT NULL, false)"


def _number(value: SqlValue) -> str:
    if value.type not in NUMBERS:
        raise Unprocessable(f"The path calculates with {value.type}, which is not a number.")
    return "decimal" if value.type == "decimal" else "integer"
