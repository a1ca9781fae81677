"""What changes one resource into another, as a FHIRPath Patch (R4 fhirpatch.html).

Applied to the one, the patch gives the other. Of a list what is alike at both ends is kept, and
what is between is compared place by place: a shortest patch is not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import PRIMITIVES
from ehr_fhir.patch.element_slots import ElementDefinition, Pair, Slot, find_element

__all__ = ["build_difference"]

# Datatypes that `Parameters.parameter.value[x]` does not take: they are written as parts.
_WITHOUT_VALUE = frozenset({"ElementDefinition", "Extension", "Narrative", "xhtml"})
# Element names that the grammar of FHIRPath takes for operators.
_KEYWORDS = frozenset({"and", "as", "contains", "div", "implies", "in", "is", "mod", "or", "xor"})
_NOT_COMPARED = frozenset({"resourceType", "id", "meta"})
# Any: JSON of every shape, here and below.
_Operation = dict[str, Any]


def build_difference(
    before: Mapping[str, Any], after: Mapping[str, Any], *, with_meta: bool = False
) -> list[_Operation]:
    """Return the operations that turn one resource into another of its type.

    The id is never compared, `meta` only with `with_meta`.

    >>> before = {"resourceType": "Patient", "gender": "male"}
    >>> (operation,) = build_difference(before, {**before, "gender": "female"})
    >>> [list(part.values()) for part in operation["part"]]
    [['type', 'replace'], ['path', 'Patient.gender'], ['value', 'female']]
    """
    left_out = _NOT_COMPARED - {"meta"} if with_meta else _NOT_COMPARED
    kind = str(before["resourceType"])
    return list(
        _compare_objects(
            kind,
            kind,
            {key: value for key, value in before.items() if key not in left_out},
            {key: value for key, value in after.items() if key not in left_out},
        )
    )


def _compare_objects(
    path: str, kind: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[_Operation]:
    for name in _element_names(kind, before, after):
        definition = find_element(kind, name)
        if definition is None:
            continue
        place = f"{path}.{f'`{name}`' if name in _KEYWORDS else name}"
        old_key, old = _read_element(definition, before)
        new_key, new = _read_element(definition, after)
        if definition.repeats:
            yield from _compare_lists(path, place, definition, old_key, (old, new))
        elif not new:
            if old:
                yield _operation("delete", place)
        elif not old:
            yield _addition(path, definition, new_key, new[0])
        elif old_key != new_key or old[0] != new[0]:
            yield from _compare_values(place, definition, (old_key, old[0]), (new_key, new[0]))


def _element_names(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the elements that one of two objects has, once each, in their order."""
    seen: set[str] = set()
    for key in (*before, *after):
        plain = key.removeprefix("_")
        definition = None if plain in seen else find_element(kind, plain)
        if definition is not None and definition.name not in seen:
            seen |= {plain, definition.name}
            yield definition.name


def _read_element(
    definition: ElementDefinition, holder: Mapping[str, Any]
) -> tuple[str, list[Pair]]:
    """Return the JSON key under which an element stands in an object, and what stands there."""
    for key in definition.kinds:
        if found := Slot(dict(holder), key, definition.repeats).read_pairs():
            return key, found
    return next(iter(definition.kinds)), []


def _compare_values(
    place: str, definition: ElementDefinition, before: tuple[str, Pair], after: tuple[str, Pair]
) -> Iterator[_Operation]:
    """Compare two values of one place: within, where both are objects of one datatype."""
    (old_key, (old, _)), (new_key, (new, _)) = before, after
    kind = definition.kinds[old_key]
    is_object = isinstance(old, dict) and isinstance(new, dict) and old_key == new_key
    # A resource inside another is replaced as a whole.
    if is_object and kind in definitions.elements() and kind != "Resource":
        yield from _compare_objects(place, kind, old, new)
    else:
        yield _operation("replace", place, value=_value(definition, new_key, after[1]))


def _compare_lists(
    path: str,
    place: str,
    definition: ElementDefinition,
    key: str,
    lists: tuple[list[Pair], list[Pair]],
) -> Iterator[_Operation]:
    old, new = lists
    begin = _count_equal(old, new)
    most = min(len(old), len(new)) - begin
    end = min(most, _count_equal(old[::-1], new[::-1]))
    old_middle, new_middle = old[begin : len(old) - end], new[begin : len(new) - end]
    shared = min(len(old_middle), len(new_middle))
    for index in range(shared):
        if old_middle[index] != new_middle[index]:
            yield from _compare_values(
                f"{place}[{begin + index}]",
                definition,
                (key, old_middle[index]),
                (key, new_middle[index]),
            )
    # From the last one on, so that the places of those before stay.
    for index in reversed(range(shared, len(old_middle))):
        yield _operation("delete", f"{place}[{begin + index}]")
    for index in range(shared, len(new_middle)):
        at = begin + index
        pair = new_middle[index]
        # What is at the end is added; only before others it needs its place.
        if not end:
            yield _addition(path, definition, key, pair)
        else:
            yield _operation("insert", place, index=at, value=_value(definition, key, pair))


def _count_equal(left: Sequence[Pair], right: Sequence[Pair]) -> int:
    """Return how many items two lists begin with alike."""
    found = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        found += 1
    return found


def _addition(path: str, definition: ElementDefinition, key: str, pair: Pair) -> _Operation:
    return _operation("add", path, name=definition.name, value=_value(definition, key, pair))


def _operation(kind: str, path: str, **parts: str | int | Mapping[str, Any]) -> _Operation:
    """Return one operation; a value is given as the content of its part."""
    found: list[dict[str, Any]] = [
        {"name": "type", "valueCode": kind},
        {"name": "path", "valueString": path},
    ]
    for name, value in parts.items():
        if isinstance(value, str):
            found.append({"name": name, "valueString": value})
        elif isinstance(value, int):
            found.append({"name": name, "valueInteger": value})
        else:
            found.append({"name": name, **value})
    return {"name": "operation", "part": found}


def _value(definition: ElementDefinition, key: str, pair: Pair) -> dict[str, Any]:
    """Return a value as the content of a parameter: typed, a resource, or its parts."""
    kind, (value, shadow) = definition.kinds[key], pair
    if kind == "Resource" or (isinstance(value, dict) and "resourceType" in value):
        return {"resource": value}
    is_primitive = kind in PRIMITIVES or not isinstance(value, dict | None)
    if not is_primitive and (kind in _WITHOUT_VALUE or "." in kind):
        return {"part": [*_parts(kind, value)]}
    written = "string" if kind == "xhtml" or (is_primitive and kind not in PRIMITIVES) else kind
    name = f"value{written[0].upper()}{written[1:]}"
    found = {} if value is None else {name: value}
    return found if shadow is None else {**found, f"_{name}": shadow}


def _parts(kind: str, holder: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _element_names(kind, holder, {}):
        definition = find_element(kind, name)
        if definition is not None:
            key, pairs = _read_element(definition, holder)
            for pair in pairs:
                yield {"name": name, **_value(definition, key, pair)}
