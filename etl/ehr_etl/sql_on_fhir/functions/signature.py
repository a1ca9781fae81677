"""Signature of a function: how many arguments it takes, and what compiles a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ehr_etl.sql_on_fhir.expressions import Expression
from ehr_etl.sql_on_fhir.paths import Scope, compile_path
from ehr_etl.sql_on_fhir.types import TEXT_TYPES
from ehr_etl.sql_on_fhir.values import Value, single_value
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call, Literal, Node, Variable

Function = Callable[[Value, Call, Scope], Value]


@dataclass(frozen=True)
class Signature:
    """A function, and the least and most arguments it takes."""

    function: Function
    least: int = 0
    most: int = 0


def fixed_text(node: Node, scope: Scope) -> str:
    """Return a text argument known when the view compiles: a literal or a constant."""
    match node:
        case Literal(values=(str() as value,)):
            return value
        case Variable(name=name):
            constant = scope.constants.get(name)
            if constant is not None and isinstance(constant.value, str):
                return constant.value
    raise Unprocessable("The path calls a function with an argument that is not a fixed text.")


def fixed_number(node: Node, scope: Scope) -> int:
    """Return a whole number known when the view compiles."""
    match node:
        case Literal(values=(int() as value,)) if not isinstance(value, bool):
            return value
        case Variable(name=name):
            constant = scope.constants.get(name)
            if constant is not None and type(constant.value) is int:
                return constant.value
    raise Unprocessable("The path calls a function with an argument that is not a fixed number.")


def text_of(value: Value, function: str) -> Expression:
    """Return a single text; refuse what is no text."""
    if not value.is_empty and (value.type not in TEXT_TYPES or not value.is_primitive):
        raise Unprocessable(f"The path calls {function}() with {value.type}, which is not a text.")
    return single_value(value)


def argument(call: Call, place: int, scope: Scope) -> Value:
    """Return a compiled argument, in the focus of the caller."""
    return compile_path(call.arguments[place], scope)
