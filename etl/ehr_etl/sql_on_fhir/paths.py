"""FHIRPath trees to values: variables, indexes, and what other modules compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ehr_etl.sql_on_fhir.definition import Constant as ViewConstant
from ehr_etl.sql_on_fhir.elements import cast_single, is_type_of, navigate
from ehr_etl.sql_on_fhir.expressions import (
    Choose,
    Expression,
    is_true,
    number,
    operation,
)
from ehr_etl.sql_on_fhir.literals import compile_literal
from ehr_etl.sql_on_fhir.operators import apply_binary, apply_sign
from ehr_etl.sql_on_fhir.values import (
    Value,
    constant_value,
    filter_values,
    single_value,
)
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.datatypes import base_types
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


@dataclass(frozen=True)
class Scope:
    """What a path may refer to."""

    this: Value
    root: Value
    constants: Mapping[str, ViewConstant]
    row_index: Expression
    index: Expression | None = None
    shallow: bool = False

    def with_focus(self, focus: Value, row_index: Expression | None = None) -> Scope:
        """Return the scope with another focus."""
        return replace(self, this=focus, row_index=row_index or self.row_index)

    def with_item(self, item: Value, index: Expression) -> Scope:
        """Return the scope within a function that goes through items: `$this` and `$index`."""
        return replace(self, this=item, index=index)


def compile_path(node: Node, scope: Scope) -> Value:
    """Compile a path in a scope."""
    match node:
        case Literal():
            return compile_literal(node)
        case Special(name="$this"):
            return scope.this
        case Special(name="$index") if scope.index is not None:
            return Value(scope.index, "integer")
        case Variable(name=name):
            return _compile_variable(name, scope)
        case Member(base=None, name=name):
            if name in base_types(scope.this.type) and name == scope.root.type:
                return scope.this
            return navigate(scope.this, name)
        case Member(base=Node() as base, name=name):
            return navigate(compile_path(base, scope), name)
        case Index(base=base, index=index):
            return _select_by_index(compile_path(base, scope), compile_path(index, scope))
        case Unary(operator=sign, operand=operand):
            return apply_sign(sign, compile_path(operand, scope))
        case Binary(operator=operator, left=left, right=right):
            return apply_binary(operator, compile_path(left, scope), compile_path(right, scope))
        case TypeTest(operator="is", operand=operand, type=type_specifier):
            return is_type_of(compile_path(operand, scope), type_specifier)
        case TypeTest(operand=operand, type=type_specifier):
            return cast_single(compile_path(operand, scope), type_specifier)
        case Call():
            # Functions compile their arguments, so the two modules need each other.
            from ehr_etl.sql_on_fhir.functions import compile_call

            return compile_call(node, scope)
    raise Unprocessable("The path uses FHIRPath that views do not support.")


def compile_condition(node: Node, scope: Scope) -> Expression:
    """Compile a criterion to an expression that is true or false, never NULL."""
    value = compile_path(node, scope)
    if value.type != "boolean":
        raise Unprocessable("A criterion of the view is not a boolean: add .exists() to its path.")
    return is_true(single_value(value))


def _compile_variable(name: str, scope: Scope) -> Value:
    if name == "rowIndex":
        return Value(scope.row_index, "integer")
    if name in ("resource", "rootResource", "context"):
        return scope.root
    if name not in scope.constants:
        raise Unprocessable(f"The path uses %{name}, which the view does not define.")
    constant = scope.constants[name]
    return constant_value(constant.value, constant.type)


def _select_by_index(base: Value, index: Value) -> Value:
    place = single_value(index)
    if base.many:
        item = operation("get", base.expression, place)
        item_or_null = Choose(operation("ge", place, number(0)), item)
        return replace(base, expression=item_or_null, many=False)
    return filter_values(base, lambda item, _: operation("eq", place, number(0)))
