"""What a resource is found by: one row for each value of each search parameter.

Each resource type's parameters are compiled once into a table by first element, so that an element
the resource does not have costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from ehr_fhir.index_values import Converter, Value, converter
from ehr_fhir.paths import Path
from ehr_fhir.search_parameters import SearchParameter, parameters

__all__ = ["IndexRow", "extract", "indexed"]

# These are columns of the resource itself.
_COLUMNS = frozenset({"_id", "_lastUpdated"})


class IndexRow(NamedTuple):
    """One value: the kind of table, the parameter's code, the values of the columns."""

    kind: str
    code: str
    values: Value


class _Source(NamedTuple):
    code: str
    path: Path
    convert: Converter


def extract(resource: Mapping[str, Any]) -> list[IndexRow]:
    """Return the index rows of a validated resource, each once.

    >>> extract({"resourceType": "Encounter", "status": "finished"})
    [IndexRow(kind='token', code='status', values=('', 'finished'))]
    """
    by_element, presences = _sources(resource["resourceType"])
    rows: dict[IndexRow, None] = {}
    for element in resource:
        for source in by_element.get(element, ()):
            for value in source.path.values(resource):
                for kind, values in source.convert(value):
                    rows[IndexRow(kind, source.code, values)] = None
    for code, paths in presences.items():
        present = any(value is not False for path in paths for value in path.values(resource))
        rows[IndexRow("token", code, ("", "true" if present else "false"))] = None
    return list(rows)


def indexed(resource_type: str) -> Iterator[SearchParameter]:
    """Yield the parameters of a resource type that have index rows."""
    for parameter in parameters(resource_type).values():
        if parameter.supported and parameter.code not in _COLUMNS:
            yield parameter


@cache
def _sources(resource_type: str) -> tuple[Mapping[str, list[_Source]], Mapping[str, list[Path]]]:
    by_element: dict[str, list[_Source]] = {}
    presences: dict[str, list[Path]] = {}
    for parameter in indexed(resource_type):
        for path in parameter.paths:
            if path.presence:
                presences.setdefault(parameter.code, []).append(path)
            else:
                source = _Source(parameter.code, path, converter(parameter.type, path))
                by_element.setdefault(str(path.steps[0]), []).append(source)
    return by_element, presences
