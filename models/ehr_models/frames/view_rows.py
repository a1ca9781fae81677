"""Rows of a view from one person's resources, without an engine: for a request that waits.

The columns' paths are those of the view's own definition, evaluated by the platform's FHIRPath; the
rows are those that the compiled view gives of the same resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from ehr_etl.gold.library import iterate_definitions
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.fhirpath import compile_reader

__all__ = ["ViewReader", "open_reader"]

Resource = Mapping[str, Any]  # Any: JSON
_Read = Callable[[Resource], Any]

_REFERENCE_KEY = re.compile(r"(\w+)\.getReferenceKey\((\w+)\)")
# As the compiled views read it (`ehr_etl.sql_on_fhir.functions.fhir`).
_REFERENCE = re.compile(r"(?:.*/)?([A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/.+)?")
# No view asks for the present time.
_NOW = datetime(2000, 1, 1, tzinfo=UTC)


class ViewReader:
    """The rows of some columns of a view; Unprocessable for a view that unrolls elements."""

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        definition = _definitions().get(name)
        if definition is None:
            raise NotFound(f"There is no view {name!r}.")
        selects = definition["select"]
        if len(selects) != 1 or {*selects[0]} - {"column"} or "constant" in definition:
            raise Unprocessable(f"The view {name} unrolls elements: it is read of tables alone.")
        self.resource: str = definition["resource"]
        paths = {column["name"]: column["path"] for column in selects[0]["column"]}
        self._columns = {column: _compile(paths[column], self.resource) for column in columns}
        self._where = [
            compile_reader(condition["path"], context_type=self.resource, now=_NOW)
            for condition in definition.get("where", ())
        ]

    def read(self, resources: Iterable[Resource]) -> list[dict[str, Any]]:
        """Return the row of each resource of the view's type that the view keeps."""
        return [
            {column: read(resource) for column, read in self._columns.items()}
            for resource in resources
            if resource.get("resourceType") == self.resource
            and all(test(resource) == [True] for test in self._where)
        ]


@cache
def open_reader(name: str, columns: tuple[str, ...]) -> ViewReader:
    """Return the reader of some columns of a view, compiled once."""
    return ViewReader(name, columns)


@cache
def _definitions() -> Mapping[str, Mapping[str, Any]]:
    return {definition["name"]: definition for definition in iterate_definitions()}


def _compile(path: str, resource: str) -> _Read:
    if path == "getResourceKey()":
        return lambda found: found.get("id")
    reference = _REFERENCE_KEY.fullmatch(path)
    if reference is not None:
        element, kind = reference.groups()
        return lambda found: _read_reference(found.get(element), kind)
    find = compile_reader(path, context_type=resource, now=_NOW)

    def read(found: Resource) -> Any:
        values = find(found)
        return values[0] if values else None

    return read


def _read_reference(reference: Any, kind: str) -> str | None:
    """Return the id that a reference names, where it is to a resource of a type."""
    text = reference.get("reference") if isinstance(reference, Mapping) else None
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    return found[2] if found is not None and found[1] == kind else None
