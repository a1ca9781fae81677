"""Compiler: a syntax tree to Python closures, once; an evaluation only calls them.

Decisions that do not depend on the resource, such as an operator's function, are made here and not
in the closures, because an index evaluates the same expressions for every resource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import functions as _functions  # noqa: F401 - fills the registry
from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import STRING_TYPES, TypeSpecifier, base_types, is_known_type
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.lexer import syntax_error
from ehr_fhir.fhirpath.member_chain import compile_member_chain
from ehr_fhir.fhirpath.operators import OPERATORS, negate
from ehr_fhir.fhirpath.registry import FUNCTIONS, Function
from ehr_fhir.fhirpath.scope import Closure, Scope
from ehr_fhir.fhirpath.system_values import to_integer, to_singleton
from ehr_fhir.fhirpath.typing_rules import cast_single, filter_by_type, is_of_type

__all__ = ["Compiler"]


class Compiler:
    """Compiler of one expression, whose text it needs for error positions."""

    def __init__(self, expression: str, *, as_filters: bool) -> None:
        self.expression = expression
        # R4's search parameters use `as` on collections, for which N1 §6.3 demands an error.
        self.cast = filter_by_type if as_filters else cast_single

    def build(self, node: syntax.Node) -> Closure:
        """Return the closure of a node and all below it; raise Invalid with line and column."""
        match node:
            case syntax.Literal(values=values):
                collection = list(values)
                return lambda scope: collection
            case syntax.Member(base=base, name=name):
                return self.build_member_chain(base, (name,))
            case syntax.Call():
                return self.build_call(node)
            case syntax.Index(base=base, index=index):
                return _build_indexer(self.build(base), self.build(index))
            case syntax.Variable(name=name):
                return lambda scope: scope.evaluation.resolve_variable(name)
            case syntax.Special(name=name):
                return _SPECIALS[name]
            case syntax.Unary(operator=sign, operand=operand):
                return _build_sign(sign, self.build(operand))
            case syntax.TypeTest(operator=operator, operand=operand, type=type_specifier):
                return self.build_type_operator(operator, self.build(operand), type_specifier)
            case syntax.Binary(operator=operator, left=left, right=right):
                general = _build_binary(operator, self.build(left), self.build(right))
                if operator == "=" and isinstance(right, syntax.Literal) and len(right.values) == 1:
                    if type(right.values[0]) is str:
                        return _build_string_equality(self.build(left), right.values[0], general)
                return general
        raise syntax_error(self.expression, node.position, "an expression was expected")

    def build_member_chain(self, base: syntax.Node | None, names: tuple[str, ...]) -> Closure:
        """Return the closure of members in a row (`name.given`), collected from the last back."""
        while isinstance(base, syntax.Member):
            names = (base.name, *names)
            base = base.base
        if base is None:
            return _build_first_member(names)
        start, walk = self.build(base), compile_member_chain(names)
        return lambda scope: walk(start(scope))

    def build_call(self, node: syntax.Call) -> Closure:
        """Return the closure of a function invocation (N1 §4.3)."""
        base: Closure = _this if node.base is None else self.build(node.base)
        if node.type is not None:
            return self.build_type_operator(node.name, base, node.type)
        function = FUNCTIONS.get(node.name)
        if function is None:
            raise syntax_error(
                self.expression, node.position, f"there is no function `{node.name[:60]}`"
            )
        count = len(node.arguments)
        if not function.min_arguments <= count <= function.max_arguments:
            reason = f"`{function.name}()` does not take {count} arguments"
            raise syntax_error(self.expression, node.position, reason)
        if node.name == "sort":
            return self.build_sort(base, function, node)
        return _build_call(base, function, [self.build(argument) for argument in node.arguments])

    def build_sort(self, base: Closure, function: Function, node: syntax.Call) -> Closure:
        """Return the closure of `sort()`, whose keys each have a direction."""
        keys = [
            (self.build(key.key), key.descending)
            for key in node.arguments
            if isinstance(key, syntax.SortKey)
        ]
        return lambda scope: function.implementation(scope, base(scope), *keys)

    def build_type_operator(
        self, operator: str, base: Closure, type_specifier: TypeSpecifier
    ) -> Closure:
        """Return the closure of `is`, `as` or `ofType`, as operator or function (N1 §6.3)."""
        if operator == "is":
            return lambda scope: _is_single_of_type(base(scope), type_specifier)
        select = filter_by_type if operator == "ofType" else self.cast
        return lambda scope: select(base(scope), type_specifier)


def _this(scope: Scope) -> list[Any]:
    return scope.this


def _index(scope: Scope) -> list[Any]:
    if scope.index is None:
        raise Invalid("$index has a value only inside a function that goes through items.")
    return [scope.index]


_SPECIALS: dict[str, Closure] = {
    "$this": _this,
    "$index": _index,
    "$total": lambda scope: scope.total,
}


def _build_first_member(names: tuple[str, ...]) -> Closure:
    """Return the closure of a member chain at the start of a path, which may begin with a type."""
    walk, name = compile_member_chain(names), names[0]
    if not is_known_type(name):
        return lambda scope: walk(scope.this)
    rest = compile_member_chain(names[1:]) if names[1:] else list

    def evaluate(scope: Scope) -> list[Any]:
        # A path may start with the type of its context: `Patient.name` (N1 §3).
        typed_items = [
            item for item in scope.this if type(item) is Element and name in base_types(item.type)
        ]
        return rest(typed_items) if typed_items else walk(scope.this)

    return evaluate


def _build_indexer(base: Closure, index: Closure) -> Closure:
    """Return the closure of `base[index]`; empty for an index out of range (N1 §5.3)."""

    def evaluate(scope: Scope) -> list[Any]:
        position = to_integer(index(scope), "An index")
        return [] if position is None or position < 0 else base(scope)[position : position + 1]

    return evaluate


def _build_sign(sign: str, operand: Closure) -> Closure:
    if sign == "-":
        return lambda scope: negate(operand(scope))
    # Negated twice: a plus changes nothing, but an operand that is no number is an error here too.
    return lambda scope: negate(negate(operand(scope)))


def _is_single_of_type(items: list[Any], type_specifier: TypeSpecifier) -> list[Any]:
    item = to_singleton(items, "`is`")
    return [] if item is None else [is_of_type(item, type_specifier)]


def _build_binary(operator: str, left: Closure, right: Closure) -> Closure:
    operator_function = OPERATORS[operator]
    if operator in ("and", "or", "implies"):
        # The left operand alone may decide (N1 §6.5), and then the right one is not evaluated.
        deciding, result = operator == "or", [operator != "and"]

        def evaluate_lazily(scope: Scope) -> list[Any]:
            first = left(scope)
            if len(first) == 1 and first[0] is deciding:
                return result
            return operator_function(scope.evaluation, first, right(scope))

        return evaluate_lazily
    return lambda scope: operator_function(scope.evaluation, left(scope), right(scope))


def _build_string_equality(left: Closure, literal: str, general: Closure) -> Closure:
    """Return a fast closure of `element = 'text'`, as most criteria are.

    Anything but a single string element is left to the general closure.
    """
    results = {True: [True], False: [False]}

    def evaluate(scope: Scope) -> list[Any]:
        items = left(scope)
        if len(items) == 1:
            item = items[0]
            if type(item) is Element and item.type in STRING_TYPES and type(item.value) is str:
                return results[item.value == literal]
        return general(scope)

    return evaluate


def _build_call(base: Closure, function: Function, arguments: list[Closure]) -> Closure:
    """Return the closure of a function call; faster for none or one argument."""
    implementation: Callable[..., list[Any]] = function.implementation
    if function.lazy:
        return lambda scope: implementation(scope, base(scope), *arguments)
    if not arguments:
        return lambda scope: implementation(scope, base(scope))
    if len(arguments) == 1:
        argument = arguments[0]
        return lambda scope: implementation(scope, base(scope), argument(scope))
    return lambda scope: implementation(
        scope, base(scope), *[argument(scope) for argument in arguments]
    )
