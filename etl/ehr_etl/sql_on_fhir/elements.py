"""Elements and types of values: steps into the JSON, `ofType`, `as` and `is`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ehr_etl.sql_on_fhir.expressions import (
    FALSE,
    Choose,
    Constant,
    Expression,
    FieldOf,
    Filter,
    Items,
    ParseJson,
    Reference,
    is_true,
    new_variable,
    number,
    operation,
    text,
    transform,
)
from ehr_etl.sql_on_fhir.types import (
    BOOLEAN,
    PRIMITIVES,
)
from ehr_etl.sql_on_fhir.values import (
    Value,
    constant_value,
    exists,
    filter_values,
    single_value,
)
from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath import TypeSpecifier
from ehr_fhir.fhirpath.datatypes import base_types

_SYSTEM_TYPES = {
    "Boolean": "boolean",
    "String": "string",
    "Integer": "integer",
    "Decimal": "decimal",
    "Date": "date",
    "DateTime": "dateTime",
    "Time": "time",
}

# A key in the text that resolve() makes for a resource of another row; no element has its name.
ELSEWHERE = "_elsewhere"


def navigate(base: Value, name: str) -> Value:
    """Step from a value to one of its elements."""
    known = definitions.json_elements(base.type)
    # A contained resource may be of any type, so its elements depend on which.
    element = known.get(name) if base.type != "Resource" else None
    if base.tree is None or base.choice is not None or element is None:
        if base.choice is None and any(e.is_choice and e.name == name for e in known.values()):
            return replace(base, choice=name)
        raise Unprocessable(_no_element(base, name, known))
    if element.is_choice and name == element.key:
        # `valueQuantity` is a key of JSON; FHIRPath's element is `value`.
        raise Unprocessable(
            f"The path asks for {name!r}: write {element.name}.ofType({element.type})."
        )
    return _step(base, element)


def _choice_elements(value: Value) -> list[Value]:
    """Return the typed elements of a `value[x]`."""
    return [_step(replace(value, choice=None), element) for element in _choices(value)]


def choice_exists(value: Value) -> Expression:
    """Return whether a `value[x]` has a value of any type; never NULL."""
    first, *others = (exists(element) for element in _choice_elements(value))
    for other in others:
        first = operation("or", first, other)
    return first


def of_type(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Keep what is of a type: `ofType`, and `as` of one value."""
    name = type_specifier.name
    if value.type == "Resource" and value.choice is None:
        return _resource_of_type(value, name)
    if value.choice is not None:
        choices = _choices(value)
        exact = [element for element in choices if element.type == name]
        # A specialised complex type counts: an `Age` is a `Quantity`.
        special = [
            element
            for element in choices
            if element.type not in PRIMITIVES and name in base_types(element.type)
        ]
        for element in exact or special[:1]:
            return _step(replace(value, choice=None), element)
        # R4 has no such choice: the path is empty for every resource.
        return constant_value(None, name)
    if value.type == name or name in base_types(value.type) or _is_system_type(value, name):
        return value
    if value.is_primitive:
        return constant_value(None, name)
    raise Unprocessable(f"The path asks {value.type} to be of type {name}.")


def cast_single(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Return one value if it is of a type (`as`, N1 §6.3); several are an error of the row."""
    kept = of_type(value, type_specifier)
    if not kept.many:
        return kept
    if kept.is_primitive:
        return Value(single_value(kept), kept.type)
    return replace(kept, expression=single_value(kept), many=False)


def is_type_of(value: Value, type_specifier: TypeSpecifier) -> Value:
    """Say whether one value is of a type (`is`, N1 §6.3); empty for none."""
    if value.choice is not None:
        matching = of_type(value, type_specifier)
        answer = FALSE if matching.is_empty else exists(matching)
        return Value(Choose(choice_exists(value), answer), "boolean")
    if value.type == "Resource":
        found = exists(_resource_of_type(value, type_specifier.name))
        return Value(Choose(exists(value), found), "boolean")
    name = type_specifier.name
    same = name in base_types(value.type) or _is_system_type(value, name)
    return Value(Choose(exists(value), Constant(same, BOOLEAN)), "boolean")


def _step(base: Value, element: JsonElement) -> Value:
    assert base.tree is not None  # noqa: S101 - the caller has checked it
    below = base.tree.add_child(element)
    written = element.type == "decimal"
    source = base
    if base.resolved and element.name != "id":
        # A reference to another row gives its type and key, and nothing else of that row.
        source = filter_values(base, lambda item, index: _is_contained(item))
    if not base.many:
        field = FieldOf(source.expression, element.key)
        return Value(field, element.type, element.repeats, below, written=written)
    steps = operation(
        "compact", transform(source.expression, lambda item: FieldOf(item, element.key))
    )
    items = operation("flatten", steps) if element.repeats else steps
    return Value(items, element.type, True, below, written=written)


def _is_contained(item: Value) -> Expression:
    assert item.tree is not None  # noqa: S101 - what resolve() gives is parsed
    item.tree.add_child(JsonElement(ELSEWHERE, ELSEWHERE, "boolean", False, False))
    return operation("not", operation("is_present", FieldOf(item.expression, ELSEWHERE)))


def _resource_of_type(value: Value, name: str) -> Value:
    """Parse contained or resolved resources of one type; their text is JSON."""
    if name not in definitions.resource_types():
        raise Unprocessable(f"The path asks for {name}, which is no resource type of FHIR R4.")
    assert value.tree is not None  # noqa: S101 - resources come from the JSON alone
    tree = value.tree.add_resource(name)
    kind = JsonElement("resourceType", "resourceType", "code", False, False)
    tree.add_child(kind)

    def of_kind(parsed: Expression) -> Expression:
        return is_true(operation("eq", FieldOf(parsed, "resourceType"), text(name)))

    variable = new_variable()
    parsed = operation("compact", transform(_as_texts(value), lambda item: ParseJson(item, tree)))
    kept = Filter(parsed, variable, None, of_kind(Reference(variable)))
    typed = Value(kept, name, True, tree, resolved=value.resolved)
    if value.many:
        return typed
    return replace(typed, expression=operation("get", kept, number(0)), many=False)


def _as_texts(value: Value) -> Expression:
    """Return resources as a list of JSON texts."""
    if value.many:
        return value.expression
    return operation("compact", Items((value.expression,)))


def _choices(value: Value) -> list[JsonElement]:
    known = definitions.json_elements(value.type).values()
    return [element for element in known if element.is_choice and element.name == value.choice]


def _is_system_type(value: Value, name: str) -> bool:
    system = _SYSTEM_TYPES.get(name)
    return value.tree is None and system is not None and system == value.type


def _no_element(base: Value, name: str, known: Mapping[str, JsonElement]) -> str:
    if base.choice is not None:
        return f"The path asks {base.choice} for {name!r}: say of which type by ofType()."
    if base.type == "Resource":
        return f"The path asks a resource for {name!r}: say of which type by ofType()."
    return f"The path asks for {name!r}, which {base.type} does not have."
