"""FHIRPath Patch (R4 fhirpatch.html): a Parameters resource read as operations, and carried out.

A path is asked anew before each operation, on the resource as the ones before have left it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.errors import EhrError, Invalid, TooCostly, Unprocessable
from ehr_fhir.fhirpath import Element, Expression, compile  # noqa: A004 - as re.compile
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.syntax import Call, Variable, iterate_nodes
from ehr_fhir.patch.element_slots import (
    ElementDefinition,
    ParameterValue,
    Slot,
    ensure_object,
    find_element,
    slot_of_element,
)
from ehr_fhir.validation.validate import validate

__all__ = ["MAX_OPERATIONS", "PathOperation", "apply_fhirpath_patch", "parse_fhirpath_patch"]

# Fewer than of JSON Patch: each evaluates an expression.
MAX_OPERATIONS = 100
_PARTS = {
    "add": ("path", "name", "value"),
    "delete": ("path",),
    "insert": ("path", "index", "value"),
    "move": ("path", "source", "destination"),
    "replace": ("path", "value"),
}
_NUMBERS = ("index", "source", "destination")
# What a stranger's path may do: choose among what is there. A short text of the other functions
# (`replace`, `repeat`, `combine`) or of variables works as long as an evaluation's steps let it.
_FUNCTIONS = frozenset(
    {
        "all", "as", "contains", "count", "empty", "endsWith", "exists", "extension", "first",
        "hasValue", "is", "last", "length", "lower", "not", "ofType", "single", "skip",
        "startsWith", "tail", "take", "toInteger", "toString", "upper", "where",
    }
)  # fmt: skip
_MAX_PATH_CHARACTERS = 2000


@dataclass(frozen=True)
class PathOperation:
    """One operation; `number` is its place in the patch."""

    number: int
    type: str
    path: str
    name: str = ""
    value: ParameterValue | None = None
    index: int = 0
    source: int = 0
    destination: int = 0

    def fault(self, text: str, place: str | None = None) -> Unprocessable:
        """Return the error of an operation that cannot be carried out."""
        where = place or f"Parameters.parameter[{self.number}]"
        return Unprocessable(f"Operation {self.number} ({self.type}) {text}.", expression=where)


def parse_fhirpath_patch(parameters: Mapping[str, Any]) -> tuple[PathOperation, ...]:
    """Parse every operation before any is applied."""
    validate(parameters, "Parameters")
    found = parameters.get("parameter", [])
    if len(found) > MAX_OPERATIONS:
        raise TooCostly(f"A FHIRPath Patch may have at most {MAX_OPERATIONS} operations.")
    return tuple(_operation(number, item) for number, item in enumerate(found))


def apply_fhirpath_patch(
    resource: Mapping[str, Any], patch: Sequence[PathOperation], now: datetime
) -> dict[str, Any]:
    """Return a patched copy of the resource."""
    content: dict[str, Any] = deepcopy(dict(resource))
    for operation in patch:
        try:
            _carry_out(operation, _select(operation, content, now))
        except Unprocessable:
            raise
        except EhrError as error:
            where = f"Parameters.parameter[{operation.number}]"
            code = error.issues[0].code
            raise type(error)(str(error), expression=where, issue_code=code) from None
    return content


def _operation(number: int, item: Mapping[str, Any]) -> PathOperation:
    if item.get("name") != "operation":
        raise _malformed(number, "must be named `operation`")
    parts = {part["name"]: part for part in item.get("part", ())}
    if len(parts) != len(item.get("part", ())):
        raise _malformed(number, "names one part twice")
    kind = _text(number, parts, "type")
    if kind not in _PARTS:
        raise _malformed(number, "must have a `type`: add, delete, insert, move or replace")
    if set(parts) != {"type", *_PARTS[kind]}:
        raise _malformed(number, f"must have these parts: type, {', '.join(_PARTS[kind])}")
    numbers = {name: _whole(number, parts[name], name) for name in _NUMBERS if name in parts}
    value = ParameterValue.of(parts["value"]) if "value" in parts else None
    if "value" in parts and value is None:
        raise _malformed(number, "must have a `value` with one value, a resource or parts")
    name = _text(number, parts, "name") if "name" in parts else ""
    return PathOperation(number, kind, _text(number, parts, "path"), name, value, **numbers)


def _text(number: int, parts: Mapping[str, Any], name: str) -> str:
    part = parts.get(name, {})
    found = part.get("valueString", part.get("valueCode"))
    if not isinstance(found, str):
        raise _malformed(number, f"must have a `{name}`")
    return found


def _whole(number: int, part: Mapping[str, Any], name: str) -> int:
    found = part.get("valueInteger", part.get("valueUnsignedInt"))
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise _malformed(number, f"must have a `{name}` of 0 or more")
    return found


def _judge(operation: PathOperation) -> None:
    if len(operation.path) > _MAX_PATH_CHARACTERS:
        raise TooCostly(f"A path of a patch has at most {_MAX_PATH_CHARACTERS} characters.")
    for node in iterate_nodes(parse(operation.path)):
        if isinstance(node, Variable):
            raise operation.fault("has a path with a variable, which a patch may not have")
        if isinstance(node, Call) and node.name not in _FUNCTIONS:
            raise operation.fault("has a path with a function that a patch may not have")


def _select(operation: PathOperation, content: dict[str, Any], now: datetime) -> list[Element]:
    _judge(operation)
    kind = str(content["resourceType"])
    expression: Expression = compile(operation.path, context_type=kind)
    found = expression.evaluate(content, now=now)
    for item in found:
        if not isinstance(item, Element) or not _within(item, content):
            raise operation.fault("has a path that leads to no element of the resource")
    return found


def _within(element: Element, content: dict[str, Any]) -> bool:
    while element.parent is not None:
        element = element.parent
    return element.value is content


def _carry_out(operation: PathOperation, found: list[Element]) -> None:
    if operation.type in ("insert", "move"):
        _in_list(operation, found)
    elif operation.type == "delete" and not found:
        # "delete (if found)": what is not there needs no deleting.
        return
    elif len(found) != 1:
        how = "nothing" if not found else "more than one element"
        raise operation.fault(f"has a path that selects {how}")
    elif operation.type == "add":
        _add(operation, found[0])
    else:
        _change(operation, found[0])


def _add(operation: PathOperation, target: Element) -> None:
    definition = find_element(target.type, operation.name.removesuffix("[x]"))
    if definition is None:
        raise operation.fault("names an element that this type does not have", target.path)
    value = _fitting(operation, definition, target.path)
    slot = Slot(ensure_object(target), definition.key_for(value), definition.repeats)
    pairs = slot.read_pairs()
    if not definition.repeats and definition.is_present_in(slot.holder):
        raise operation.fault("adds what is there already; replace it", target.path)
    slot.write_pairs([*pairs, definition.to_pair(value)])


def _change(operation: PathOperation, target: Element) -> None:
    slot = slot_of_element(target)
    parent = target.parent
    if slot is None or parent is None:
        raise operation.fault("cannot take the whole resource", target.path)
    at = target.index or 0
    pairs = slot.read_pairs()
    if operation.type == "delete":
        slot.write_pairs([*pairs[:at], *pairs[at + 1 :]])
        return
    definition = find_element(parent.type, target.key)
    if definition is None:
        raise operation.fault("has a path to an element that cannot be replaced", target.path)
    value = _fitting(operation, definition, target.path)
    pairs[at] = definition.to_pair(value)
    if definition.key_for(value) != target.key:
        slot.write_pairs([])
    Slot(slot.holder, definition.key_for(value), slot.repeats).write_pairs(pairs)


def _in_list(operation: PathOperation, found: list[Element]) -> None:
    slot = slot_of_element(found[0]) if found else None
    pairs = slot.read_pairs() if slot else []
    parent = found[0].parent if found else None
    if slot is None or parent is None or not slot.repeats or len(pairs) != len(found):
        raise operation.fault("must have a path that selects the whole of one list")
    if any(element.key != slot.key or element.index != at for at, element in enumerate(found)):
        raise operation.fault("must have a path that selects the whole of one list")
    if operation.type == "move":
        if max(operation.source, operation.destination) >= len(pairs):
            raise operation.fault("names a place beyond the end of the list", parent.path)
        pairs.insert(operation.destination, pairs.pop(operation.source))
    else:
        definition = find_element(parent.type, slot.key)
        if definition is None or operation.index > len(pairs):
            raise operation.fault("names a place beyond the end of the list", parent.path)
        pairs.insert(
            operation.index, definition.to_pair(_fitting(operation, definition, parent.path))
        )
    slot.write_pairs(pairs)


def _fitting(operation: PathOperation, definition: ElementDefinition, place: str) -> ParameterValue:
    if operation.value is None or not definition.accepts(operation.value):
        raise operation.fault("has a value of a type that this element does not take", place)
    return operation.value


def _malformed(number: int, fault: str) -> Invalid:
    place = f"Parameters.parameter[{number}]"
    return Invalid(f"{place} {fault}.", expression=place, issue_code="structure")
