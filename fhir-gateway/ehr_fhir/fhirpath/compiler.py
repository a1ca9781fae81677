"""A tree to closures, once; evaluation only calls them."""

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
    """Turns the tree of one expression into a closure."""

    def __init__(self, expression: str, *, as_filters: bool) -> None:
        self.expression = expression
        # R4's search parameters use `as` on collections, where N1 refuses it.
        self.cast = filter_by_type if as_filters else cast_single

    def build(self, node: syntax.Node) -> Closure:
        """Return the closure of a node and all below it."""
        match node:
            case syntax.Literal(values=values):
                fixed = list(values)
                return lambda scope: fixed
            case syntax.Member(base=base, name=name):
                return self.names(base, (name,))
            case syntax.Call():
                return self.call(node)
            case syntax.Index(base=base, index=index):
                return _indexed(self.build(base), self.build(index))
            case syntax.Variable(name=name):
                return lambda scope: scope.evaluation.resolve_variable(name)
            case syntax.Special(name=name):
                return _SPECIALS[name]
            case syntax.Unary(operator=sign, operand=operand):
                return _signed(sign, self.build(operand))
            case syntax.TypeTest(operator=operator, operand=operand, type=type_specifier):
                return self.typed(operator, self.build(operand), type_specifier)
            case syntax.Binary(operator=operator, left=left, right=right):
                general = _binary(operator, self.build(left), self.build(right))
                if operator == "=" and isinstance(right, syntax.Literal) and len(right.values) == 1:
                    if type(right.values[0]) is str:
                        return _is_text(self.build(left), right.values[0], general)
                return general
        raise syntax_error(self.expression, node.position, "an expression was expected")

    def names(self, base: syntax.Node | None, names: tuple[str, ...]) -> Closure:
        """Return the closure of a run of names, gathered from its end."""
        while isinstance(base, syntax.Member):
            names = (base.name, *names)
            base = base.base
        if base is None:
            return _head(names)
        start, walk = self.build(base), compile_member_chain(names)
        return lambda scope: walk(start(scope))

    def call(self, node: syntax.Call) -> Closure:
        """Return the closure of a function call."""
        base: Closure = _this if node.base is None else self.build(node.base)
        if node.type is not None:
            return self.typed(node.name, base, node.type)
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
            return self.sort(base, function, node)
        return _call(base, function, [self.build(argument) for argument in node.arguments])

    def sort(self, base: Closure, function: Function, node: syntax.Call) -> Closure:
        """Return the closure of `sort()`, whose keys have directions."""
        keys = [
            (self.build(key.key), key.descending)
            for key in node.arguments
            if isinstance(key, syntax.SortKey)
        ]
        return lambda scope: function.implementation(scope, base(scope), *keys)

    def typed(self, operator: str, base: Closure, type_specifier: TypeSpecifier) -> Closure:
        """Return the closure of `is`, `as` or `ofType`."""
        if operator == "is":
            return lambda scope: _is(base(scope), type_specifier)
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


def _head(names: tuple[str, ...]) -> Closure:
    walk, name = compile_member_chain(names), names[0]
    if not is_known_type(name):
        return lambda scope: walk(scope.this)
    rest = compile_member_chain(names[1:]) if names[1:] else list

    def typed(scope: Scope) -> list[Any]:
        # `Patient.name` may start with the type of what it starts from (N1 §5.1).
        found = [
            item for item in scope.this if type(item) is Element and name in base_types(item.type)
        ]
        return rest(found) if found else walk(scope.this)

    return typed


def _indexed(base: Closure, index: Closure) -> Closure:
    def run(scope: Scope) -> list[Any]:
        at = to_integer(index(scope), "An index")
        return [] if at is None or at < 0 else base(scope)[at : at + 1]

    return run


def _signed(sign: str, operand: Closure) -> Closure:
    if sign == "-":
        return lambda scope: negate(operand(scope))
    # A plus changes nothing, but it too stands only before a number.
    return lambda scope: negate(negate(operand(scope)))


def _is(items: list[Any], type_specifier: TypeSpecifier) -> list[Any]:
    item = to_singleton(items, "`is`")
    return [] if item is None else [is_of_type(item, type_specifier)]


def _binary(operator: str, left: Closure, right: Closure) -> Closure:
    run = OPERATORS[operator]
    if operator in ("and", "or", "implies"):
        # The left side may settle the answer.
        settles, answer = operator == "or", [operator != "and"]

        def short(scope: Scope) -> list[Any]:
            first = left(scope)
            if len(first) == 1 and first[0] is settles:
                return answer
            return run(scope.evaluation, first, right(scope))

        return short
    return lambda scope: run(scope.evaluation, left(scope), right(scope))


def _is_text(left: Closure, literal: str, general: Closure) -> Closure:
    """Return the closure of `element = 'text'`, which most filters are, without the detours."""
    answers = {True: [True], False: [False]}

    def run(scope: Scope) -> list[Any]:
        items = left(scope)
        if len(items) == 1:
            item = items[0]
            if type(item) is Element and item.type in STRING_TYPES and type(item.value) is str:
                return answers[item.value == literal]
        return general(scope)

    return run


def _call(base: Closure, function: Function, arguments: list[Closure]) -> Closure:
    implementation: Callable[..., list[Any]] = function.implementation
    if function.lazy:
        return lambda scope: implementation(scope, base(scope), *arguments)
    if not arguments:
        return lambda scope: implementation(scope, base(scope))
    if len(arguments) == 1:
        only = arguments[0]
        return lambda scope: implementation(scope, base(scope), only(scope))
    return lambda scope: implementation(
        scope, base(scope), *[argument(scope) for argument in arguments]
    )
