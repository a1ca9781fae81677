"""Index rows: one for each value of each search parameter of a resource.

Each resource type's parameters are compiled once into a table by first element, so that an element
the resource does not have costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ehr_fhir.errors import EhrError
from ehr_fhir.fhirpath import MAX_STEPS, Element, Expression, Walk, to_json
from ehr_fhir.index.converters import Converter, Value, find_converter, is_convertible
from ehr_fhir.index.first_entry import FIRST_ENTRIES, list_first_entries
from ehr_fhir.references import referenced_type
from ehr_fhir.search_parameters import (
    SearchParameter,
    compile_expression,
    official_parameters,
    paired_elements,
)

__all__ = [
    "MAX_CONTAINED",
    "PRESENT",
    "IndexRow",
    "duplicate_parameters",
    "extract_rows",
    "extract_rows_for",
    "fragment_target",
    "indexed_parameters",
]

# These are columns of the resource itself.
_COLUMNS = frozenset({"_id", "_lastUpdated"})
# An index must depend on the resource alone, so `now()` in an expression is a constant.
# In the table of references, the type of a value that is there and has no row in its own table.
PRESENT = "!"
# Chosen: more than a resource can contain. A row of a contained resource has the number of that
# resource plus so many times the ordinal of the repeating element, by which composites pair values.
MAX_CONTAINED = 1_000_000
# By type of parameter: the tables that hold its values.
_TABLES = {
    "date": ("date",),
    "number": ("number",),
    "quantity": ("quantity",),
    "reference": ("reference", "token"),
    "special": ("position",),
    "string": ("string",),
    "token": ("token",),
    "uri": ("uri",),
}
_NOW = datetime(2000, 1, 1, tzinfo=UTC)


class IndexRow(NamedTuple):
    """One value: the kind of table, the parameter's code, the values of the columns."""

    kind: str
    code: str
    values: Value
    # Of a value inside a contained resource: its type. The parameter is that type's, and the last
    # column has the number of the contained resource, from 1 (MAX_CONTAINED).
    contained_type: str = ""


class _Source(NamedTuple):
    """A plain path, walked once for all parameters; `slot` is the repeating element to number."""

    codes: tuple[str, ...]
    walk: Walk
    convert: Converter
    slot: str | None
    # The tables of which a value that is there should have a row, for `:missing`; empty for a
    # reference of one type alone, which other references are not.
    tables: tuple[str, ...]


class _Evaluated(NamedTuple):
    """A parameter whose expression must be evaluated."""

    code: str
    type: str
    expression: Expression
    max_steps: int


# Each write of the type evaluates the expression, and others wait for it: 50,000 steps take about
# 0.2 s (measured), the half million of R4's own up to 3 s. A path over thousands of elements fits.
ADDED_PARAMETER_STEPS = 50_000
_Sources = tuple[Mapping[str, list[_Source]], list[_Evaluated]]


def extract_rows(resource: Mapping[str, Any]) -> list[IndexRow]:
    """Return the index rows of a validated resource, each once.

    >>> extract_rows({"resourceType": "Encounter", "status": "finished"})[0][:3]
    ('token', 'status', ('', 'finished', 0))
    """
    rows = _rows(resource, _official(resource["resourceType"]))
    if resource["resourceType"] == "Bundle":
        return _with_first_entries(rows, resource)
    contained = resource.get("contained")
    return rows if not contained else _with_contained(rows, contained)


def fragment_target(number: object) -> str:
    """Return the id that a reference to a contained resource has in the index, by its number.

    >>> fragment_target(2)
    '#2'
    """
    return f"#{number}"


def _with_contained(rows: list[IndexRow], contained: list[Any]) -> list[IndexRow]:
    """Add the values of contained resources, and let references to them name their type.

    A reference `#m` to a Medication is indexed as type `#Medication` and id `#1`, the number of the
    contained resource.
    """
    numbers = {
        inner.get("id"): (number, inner["resourceType"])
        for number, inner in enumerate(contained, 1)
    }
    found = [resolved for row in rows if (resolved := _resolve_fragment(row, numbers))]
    for number, inner in enumerate(contained, 1):
        kind = inner["resourceType"]
        for row in _rows(inner, _official(kind)):
            if resolved := _resolve_fragment(row, numbers):
                values = _place_inside(resolved.values, number)
                found.append(IndexRow(resolved.kind, resolved.code, values, kind))
    return list(dict.fromkeys(found))


def _place_inside(values: Value, number: int) -> Value:
    """Return a value's columns with the number of its contained resource added to its ordinal."""
    *columns, ordinal = values
    return (*columns, ordinal * MAX_CONTAINED + number)


def _with_first_entries(rows: list[IndexRow], bundle: Mapping[str, Any]) -> list[IndexRow]:
    """Add what `composition` and `message` point to, numbered as contained resources are."""
    entries = list_first_entries(bundle)
    found = [
        row
        for row in rows
        # The expression gives any type of resource. `message` has the same rows.
        if row.code != "composition" or row.values[0] in FIRST_ENTRIES
    ]
    numbers: dict[Any, tuple[int, str]] = {
        str(number): (number, inside["resourceType"])
        for number, (inside, _) in enumerate(entries, 1)
    }
    for number, forms in enumerate(entries, 1):
        kind = forms[0]["resourceType"]
        if number == 1:
            target = (f"#{kind}", fragment_target(number), 0)
            found.append(IndexRow("reference", "composition", target))
        for form in forms:
            for row in _rows(form, _official(kind)):
                if resolved := _resolve_fragment(row, numbers):
                    values = _place_inside(resolved.values, number)
                    found.append(IndexRow(resolved.kind, resolved.code, values, kind))
    return list(dict.fromkeys(found))


def _resolve_fragment(row: IndexRow, numbers: Mapping[Any, tuple[int, str]]) -> IndexRow | None:
    """Return a row with its reference resolved; None for a reference that only other types are."""
    if row.kind != "reference" or not row.values[0].startswith("#"):
        return row
    wanted, name, slot = row.values
    number, kind = numbers.get(name[1:], (0, ""))
    if wanted not in ("#", f"#{kind}"):
        return None
    return row._replace(values=(f"#{kind}", fragment_target(number), slot)) if number else row


def extract_rows_for(
    resource: Mapping[str, Any], wanted: tuple[SearchParameter, ...]
) -> list[IndexRow]:
    """Return the index rows of a validated resource for some parameters of its type."""
    return _rows(resource, _added(wanted))


def indexed_parameters(resource_type: str) -> Iterator[SearchParameter]:
    """Yield R4's parameters of a resource type that have index rows of their own."""
    for parameter in official_parameters(resource_type).values():
        if parameter.is_indexed and parameter.code not in {
            *_COLUMNS,
            *duplicate_parameters(resource_type),
        }:
            yield parameter


@cache
def duplicate_parameters(resource_type: str) -> Mapping[str, str]:
    """Return code -> the earlier code with the same rows.

    >>> dict(duplicate_parameters("Patient"))
    {'phonetic': 'name'}
    """
    first: dict[object, str] = {}
    found = {}
    for code, parameter in sorted(official_parameters(resource_type).items()):
        if parameter.is_indexed and parameter.expression:
            # The walks alone: an official expression names every type that has the parameter.
            walks = compile_expression(parameter.expression, resource_type).walks
            paired = paired_elements(resource_type).get(code)
            known = first.setdefault((parameter.type, walks or parameter.expression, paired), code)
            if known != code:
                found[code] = known
    return found


def _rows(resource: Mapping[str, Any], sources: _Sources) -> list[IndexRow]:
    by_element, evaluated = sources
    rows: dict[IndexRow, None] = {}
    for element in resource:
        for codes, walk, convert, slot, tables in by_element.get(element, ()):
            if slot is not None:
                _slotted(resource[slot], codes, walk, convert, tables, rows)
                continue
            for value in walk.values(resource):
                is_indexed = not tables
                for kind, values in convert(value):
                    placed = (*values, 0)
                    is_indexed = is_indexed or kind in tables
                    for code in codes:
                        rows[IndexRow(kind, code, placed)] = None
                if not is_indexed:
                    for code in codes:
                        rows[_presence(code)] = None
    for source in evaluated:
        for kind, values in _evaluate(source, resource):
            rows[IndexRow(kind, source.code, (*values, 0))] = None
    return list(rows)


@cache
def _presence(code: str) -> IndexRow:
    """Return the row of a value that is there and that no search finds, such as a code's text."""
    return IndexRow("reference", code, (PRESENT, "", 0))


# Any: the element of a resource, checked before.
def _slotted(
    elements: Any,
    codes: tuple[str, ...],
    walk: Walk,
    convert: Converter,
    tables: tuple[str, ...],
    rows: dict[IndexRow, None],
) -> None:
    """Add the values below a repeating element, each with the ordinal of its repetition."""
    for slot, element in enumerate(elements if type(elements) is list else [elements], 1):
        for value in walk.values(element):
            is_indexed = not tables
            for kind, values in convert(value):
                placed = (*values, slot)
                is_indexed = is_indexed or kind in tables
                for code in codes:
                    rows[IndexRow(kind, code, placed)] = None
            if not is_indexed:
                for code in codes:
                    rows[_presence(code)] = None


def _evaluate(source: _Evaluated, resource: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    keys = source.expression.keys
    if keys is not None and keys.isdisjoint(resource):
        return
    tables = _TABLES[source.type]
    for item in _items(source, resource):
        datatype = item.type if isinstance(item, Element) else _SYSTEM.get(type(item), "string")
        value = to_json(item)
        if value is not None:
            found = list(find_converter(source.type, datatype, None)(value))
            yield from found
            if not any(kind in tables for kind, _ in found):
                yield "reference", (PRESENT, "")


def _items(source: _Evaluated, resource: Mapping[str, Any]) -> list[Any]:
    try:
        return source.expression.evaluate(
            resource, now=_NOW, resolve=_stub, max_steps=source.max_steps
        )
    except EhrError:
        # An expression that suits no such resource finds nothing there; the resource is not wrong.
        return []


_SYSTEM = {bool: "boolean", int: "integer"}


def _stub(reference: str) -> Mapping[str, Any] | None:
    """Resolve a reference to its type alone: an index must not depend on another resource."""
    kind = referenced_type(reference)
    return {"resourceType": kind} if kind else None


@cache
def _official(resource_type: str) -> _Sources:
    return _sources(indexed_parameters(resource_type))


@lru_cache(256)
def _added(wanted: tuple[SearchParameter, ...]) -> _Sources:
    return _sources(wanted, ADDED_PARAMETER_STEPS)


def _sources(wanted: Iterable[SearchParameter], max_steps: int = MAX_STEPS) -> _Sources:
    codes: dict[tuple[Walk, Converter, str | None, tuple[str, ...]], list[str]] = {}
    evaluated: list[_Evaluated] = []
    for parameter in wanted:
        walks = parameter.compiled_expression.walks
        if walks is None:
            evaluated.append(
                _Evaluated(parameter.code, parameter.type, parameter.compiled_expression, max_steps)
            )
            continue
        counted = paired_elements(parameter.resource_type).get(parameter.code, frozenset())
        for walk in walks:
            convert = find_converter(parameter.type, walk.datatype, walk.target)
            first = str(walk.steps[0])
            slot = first if first in counted else None
            is_asked = walk.target is None and is_convertible(parameter.type, walk.datatype)
            tables = _TABLES[parameter.type] if is_asked else ()
            codes.setdefault((walk, convert, slot, tables), []).append(parameter.code)
    by_element: dict[str, list[_Source]] = {}
    for (walk, convert, slot, tables), some in codes.items():
        below = Walk(walk.steps[1:], walk.datatype, walk.target) if slot else walk
        source = _Source(tuple(some), below, convert, slot, tables)
        by_element.setdefault(str(walk.steps[0]), []).append(source)
    return by_element, evaluated
