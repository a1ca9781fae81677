"""FHIRPath trees to SQL: elements, variables, indexes and operators (functions: functions.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ehr_etl.sql_on_fhir.elements import NUMBERS, TEXT_TYPES, elements
from ehr_etl.sql_on_fhir.fhirpath import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Negative,
    Node,
    This,
    Variable,
)
from ehr_etl.sql_on_fhir.values import (
    SqlValue,
    filter_values,
    literal_value,
    new_variable,
    single_value,
)
from ehr_fhir.errors import Unprocessable

_ARITHMETIC = {"+": "try_add", "-": "try_subtract", "*": "try_multiply", "/": "try_divide"}
_LOGIC = {"and": "AND", "or": "OR"}


@dataclass(frozen=True)
class Scope:
    """What a path may refer to."""

    this: SqlValue
    root: SqlValue
    constants: Mapping[str, Literal]
    row_index: str = "0"

    def with_focus(self, focus: SqlValue, row_index: str | None = None) -> Scope:
        """Return the scope with another focus."""
        return replace(self, this=focus, row_index=row_index or self.row_index)


def compile_path(node: Node, scope: Scope) -> SqlValue:
    """Compile a path in a scope."""
    match node:
        case Literal(value, type_name):
            return literal_value(value, type_name)
        case This():
            return scope.this
        case Variable(name):
            return _variable(name, scope)
        case Member(None, name):
            if name == scope.root.type and scope.this.type == name:
                return scope.this
            return navigate(scope.this, name)
        case Member(base, name) if base is not None:
            return navigate(compile_path(base, scope), name)
        case Index(base, index):
            return _indexed(compile_path(base, scope), compile_path(index, scope))
        case Negative(operand):
            inner = compile_path(operand, scope)
            return SqlValue(f"(- {single_value(inner)})", _number(inner))
        case Binary(operator, left, right):
            return _binary(operator, compile_path(left, scope), compile_path(right, scope))
        case Call():
            # Functions compile their arguments, so the two modules need each other.
            from ehr_etl.sql_on_fhir.functions import compile_call

            return compile_call(node, scope)
    raise Unprocessable("The path uses FHIRPath that views do not support.")


def navigate(base: SqlValue, name: str) -> SqlValue:
    """Step from a value to one of its elements."""
    known = elements(base.type)
    element = known.get(name)
    if base.field is None or base.choice is not None or element is None:
        if base.choice is None and any(one.choice == name for one in known.values()):
            return replace(base, choice=name)
        raise Unprocessable(f"The path asks for {name!r}, which {base.type} does not have.")
    below = base.field.add_child(element)
    if not base.many:
        return SqlValue(f"{base.sql}.`{name}`", element.type, element.many, below)
    variable = new_variable()
    steps = f"array_compact(transform({base.sql}, {variable} -> {variable}.`{name}`))"
    return SqlValue(f"flatten({steps})" if element.many else steps, element.type, True, below)


def choice_elements(value: SqlValue) -> list[SqlValue]:
    """Return the typed elements of a `value[x]`."""
    plain = replace(value, choice=None)
    known = elements(value.type).values()
    return [navigate(plain, one.name) for one in known if one.choice == value.choice]


def compile_condition(node: Node, scope: Scope) -> str:
    """Compile a criterion to SQL that is true or false, never NULL."""
    value = compile_path(node, scope)
    if value.type != "boolean":
        raise Unprocessable("A criterion of the view is not a boolean: add .exists() to its path.")
    return f"coalesce({single_value(value)}, false)"


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
    return filter_values(base, lambda one: f"{single_value(index)} = 0")


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
    raise Unprocessable(f"The path uses the operator {operator!r}, which views do not support.")


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
    for many, one in ((left, right), (right, left)):
        if many.many:
            return (
                f"CASE WHEN coalesce(size({many.sql}), 0) > 1 AND ({one.sql}) IS NOT NULL"
                f" THEN false ELSE get({many.sql}, 0) = {one.sql} END"
            )
    return f"({left.sql} = {right.sql})"


def _truth(value: SqlValue) -> str:
    """Return a boolean operand; any other single value counts as true (FHIRPath §4.5)."""
    if value.type == "boolean":
        return f"({single_value(value)})"
    return f"nullif(({single_value(value)}) IS NOT NULL, false)"


def _number(value: SqlValue) -> str:
    if value.type not in NUMBERS:
        raise Unprocessable(f"The path calculates with {value.type}, which is not a number.")
    return "decimal" if value.type == "decimal" else "integer"
