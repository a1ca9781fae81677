"""Readers: the values of an expression as JSON, of plain ones without an element for each.

Nearly all columns of a view are plain: members, `ofType`, `extension`, `first`, `where`, and simple
criteria on text. Such an expression becomes closures over the JSON itself, some six times faster;
what they do not know (another function, a primitive with extensions) is left to the engine, so that
the values are always the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import (
    PRIMITIVES,
    STRING_TYPES,
    JsonProperty,
    base_types,
    json_properties,
)
from ehr_fhir.fhirpath.expression import compile as compile_expression
from ehr_fhir.fhirpath.expression import to_json
from ehr_fhir.fhirpath.parser import parse

__all__ = ["Reader", "compile_reader", "is_plain"]

Reader = Callable[[Mapping[str, Any]], list[Any]]  # Any: JSON of every shape
# A criterion is true, false, or None where the expression is empty (N1 §6.5).
_Test = Callable[[Any], bool | None]


class _NotPlain(Exception):
    """A resource has what the closures do not know; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Values:
    """What finds JSON values below a JSON object, and their FHIR type (None: several).

    `keys` lead from the object to the values where they alone do, None where more is done.
    """

    find: Callable[[Any], list[Any]]
    type: str | None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Choice:
    """A choice element (`value[x]`) before its type is chosen."""

    owner: _Values
    types_by_key: Mapping[str, str]


def compile_reader(expression: str, *, context_type: str, now: datetime) -> Reader:
    """Return what reads an expression's values of a resource as JSON.

    They are those of `compile(...).evaluate(..., now=now)` by `to_json`, and so are the errors.

    >>> from datetime import datetime, timezone
    >>> read = compile_reader(
    ...     "name.where(use = 'official').given.first()", context_type="Patient",
    ...     now=datetime.now(timezone.utc))
    >>> read({"resourceType": "Patient", "name": [{"use": "official", "given": ["Ka", "Ming"]}]})
    ['Ka']
    """
    compiled = compile_expression(expression, context_type=context_type)

    def evaluate(resource: Mapping[str, Any]) -> list[Any]:
        return [to_json(value) for value in compiled.evaluate(resource, now=now)]

    find = _compile_plain(parse(expression), context_type)
    if find is None:
        return evaluate

    def read(resource: Mapping[str, Any]) -> list[Any]:
        try:
            return find(resource)
        except _NotPlain:
            return evaluate(resource)

    return read


def is_plain(expression: str, context_type: str) -> bool:
    """Say whether an expression is read without the engine.

    >>> is_plain("code.coding.first().code", "Condition"), is_plain("onset.toString()", "Condition")
    (True, False)
    """
    return _compile_plain(parse(expression), context_type) is not None


def _compile_plain(tree: syntax.Node, context_type: str) -> Callable[[Any], list[Any]] | None:
    values = _compile_values(tree, context_type)
    if values is not None:
        return values.find
    test = _compile_test(tree, context_type)
    if test is None:
        return None
    results: Mapping[bool | None, list[Any]] = {True: [True], False: [False], None: []}
    return lambda node: list(results[test(node)])


def _compile_values(node: syntax.Node, context: str) -> _Values | None:
    """Return what finds a path's values below an object of a type; None where it is not plain."""
    match node:
        case syntax.Member(base=base, name=name):
            owner = _compile_base(base, context)
            found = None if owner is None else _find_property(owner.type, name)
            if owner is None or found is None or found.choices is not None:
                return None
            keys = None if owner.keys is None else (*owner.keys, found.key)
            return _Values(_follow(owner, found.key, found.extension_key), found.type, keys)
        case syntax.Call(base=syntax.Member() as base, name="ofType", type=specifier) if specifier:
            choice = _compile_choice(base, context)
            is_fhir = specifier.namespace != "System"
            return _choose(choice, specifier.name) if choice is not None and is_fhir else None
        case syntax.Call(base=syntax.Node() as base, name="first", arguments=()):
            values = _compile_values(base, context)
            return None if values is None else _Values(_take_first(values.find), values.type)
        case syntax.Call(base=syntax.Node() as base, name="where", arguments=(criterion,)):
            values = _compile_values(base, context)
            if values is None or not _is_object(values.type):
                return None
            test = _compile_test(criterion, values.type or "")
            return None if test is None else _Values(_select(values.find, test), values.type)
        case syntax.Call(
            base=base, name="extension", arguments=(syntax.Literal(values=(str(url),)),)
        ):
            owner = _compile_base(base, context)
            if owner is None or not _is_object(owner.type):
                return None
            extensions = _follow(owner, "extension", None)
            return _Values(_select(extensions, lambda one: one.get("url") == url), "Extension")
        case syntax.Call(base=None, name="iif", arguments=(criterion, then, *others)):
            return _compile_iif(criterion, then, others, context)
    return None


def _compile_base(base: syntax.Node | None, context: str) -> _Values | None:
    return _Values(_find_itself, context, ()) if base is None else _compile_values(base, context)


def _find_itself(node: Any) -> list[Any]:
    return [node]


def _is_object(type_name: str | None) -> bool:
    """Say whether values of a type are JSON objects whose elements are known."""
    is_open = type_name is None or type_name in PRIMITIVES or type_name == "Resource"
    return not is_open and json_properties(type_name or "") is not None


def _find_property(owner: str | None, name: str) -> JsonProperty | None:
    # A path may begin with the type of its context (`Patient.name`), which is not plain.
    if owner is None or not _is_object(owner) or name in base_types(owner):
        return None
    found = (json_properties(owner) or {}).get(name)
    return None if found is None or found.type == "Resource" else found


def _compile_choice(member: syntax.Member, context: str) -> _Choice | None:
    owner = _compile_base(member.base, context)
    found = None if owner is None else _find_property(owner.type, member.name)
    if owner is None or found is None or found.choices is None:
        return None
    return _Choice(owner, found.choices)


def _choose(choice: _Choice, wanted: str) -> _Values | None:
    """Return the values of one type of a choice; None where none or another counts as it, too."""
    is_primitive = wanted in PRIMITIVES
    found = [
        (key, name)
        for key, name in choice.types_by_key.items()
        # By the engine's `filter_by_type`, primitives are of exactly a type.
        if name == wanted or (not is_primitive and wanted in base_types(name))
    ]
    if len(found) != 1 or found[0][1] != wanted:
        return None
    key = found[0][0]
    return _Values(_follow(choice.owner, key, f"_{key}" if is_primitive else None), wanted)


def _follow(owner: _Values, key: str, extension_key: str | None) -> Callable[[Any], list[Any]]:
    """Return what finds the values under a JSON key of each object."""
    find_owner, keys = owner.find, owner.keys

    def find(node: Any) -> list[Any]:
        values: list[Any] = []
        for one in find_owner(node):
            if type(one) is not dict or extension_key in one:
                raise _NotPlain
            value = one.get(key)
            if type(value) is list:
                values += value if None not in value else [v for v in value if v is not None]
            elif value is not None:
                values.append(value)
            elif key in one:
                # A null, which R4's JSON has in lists alone.
                raise _NotPlain
        return values

    if keys is None:
        return find

    def find_single(node: Any) -> list[Any]:
        # Without a list on the way, as most are, no list is made for each step.
        here = node
        for name in keys:
            here = here.get(name)
            if type(here) is not dict:
                return [] if here is None else find(node)
        value = here.get(key)
        if value is None or type(value) is list or extension_key in here:
            return find(node)
        return [value]

    return find_single


def _take_first(find: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    return lambda node: find(node)[:1]


def _select(find: Callable[[Any], list[Any]], test: _Test) -> Callable[[Any], list[Any]]:
    def select(node: Any) -> list[Any]:
        found = find(node)
        if any(type(one) is not dict for one in found):
            raise _NotPlain
        return [one for one in found if test(one)]

    return select


def _compile_iif(
    criterion: syntax.Node, then: syntax.Node, others: list[syntax.Node], context: str
) -> _Values | None:
    test, chosen = _compile_test(criterion, context), _compile_values(then, context)
    other = _compile_values(others[0], context) if others else _Values(lambda _: [], None)
    if test is None or chosen is None or other is None or len(others) > 1:
        return None
    find_chosen, find_other = chosen.find, other.find
    return _Values(lambda node: find_chosen(node) if test(node) else find_other(node), None)


def _compile_test(node: syntax.Node, context: str) -> _Test | None:
    """Return a criterion on an object of a type; None where it is not plain."""
    match node:
        case syntax.Call(base=syntax.Node() as base, name="exists" | "empty", arguments=()):
            values = _compile_values(base, context)
            if values is None:
                return None
            find, is_wanted = values.find, node.name == "exists"
            return lambda item: bool(find(item)) is is_wanted
        case syntax.Call(base=syntax.Node() as base, name="not", arguments=()):
            test = _compile_test(base, context)
            return None if test is None else _negate(test)
        case syntax.Binary(operator="or" | "and" as operator, left=left, right=right):
            first, second = _compile_test(left, context), _compile_test(right, context)
            return None if first is None or second is None else _combine(operator, first, second)
        case syntax.Binary(operator="=", left=left, right=syntax.Literal(values=(literal,))):
            return _compile_equality(_compile_values(left, context), literal)
        case syntax.Binary(operator="in", left=left, right=right):
            values, texts = _compile_values(left, context), _read_texts(right)
            if values is None or values.type not in STRING_TYPES or texts is None:
                return None
            return _build_membership(values.find, texts)
    return None


def _negate(test: _Test) -> _Test:
    def negate(node: Any) -> bool | None:
        truth = test(node)
        return None if truth is None else not truth

    return negate


def _combine(operator: str, left: _Test, right: _Test) -> _Test:
    decides = operator == "or"

    def combine(node: Any) -> bool | None:
        first = left(node)
        if first is decides:
            return decides
        second = right(node)
        if second is decides:
            return decides
        return None if first is None or second is None else not decides

    return combine


def _compile_equality(values: _Values | None, literal: object) -> _Test | None:
    if values is None:
        return None
    if not (isinstance(literal, str) and values.type in STRING_TYPES) and not (
        isinstance(literal, bool) and values.type == "boolean"
    ):
        return None
    find, kind = values.find, type(literal)

    def test(node: Any) -> bool | None:
        found = find(node)
        if not found:
            return None
        if len(found) > 1 or type(found[0]) is not kind:
            raise _NotPlain
        return bool(found[0] == literal)

    return test


def _read_texts(node: syntax.Node) -> frozenset[str] | None:
    """Return the texts of a union of literals (`'a' | 'b'`)."""
    match node:
        case syntax.Literal(values=(str(text),)):
            return frozenset({text})
        case syntax.Binary(operator="|", left=left, right=right):
            first, second = _read_texts(left), _read_texts(right)
            return None if first is None or second is None else first | second
    return None


def _build_membership(find: Callable[[Any], list[Any]], texts: frozenset[str]) -> _Test:
    def test(node: Any) -> bool | None:
        found = find(node)
        if not found:
            return None
        if len(found) > 1 or type(found[0]) is not str:
            raise _NotPlain
        return found[0] in texts

    return test
