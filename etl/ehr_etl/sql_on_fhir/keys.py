"""Which columns of a view hold keys, by what their paths give and not by what they are called."""

from __future__ import annotations

from collections.abc import Iterator

from ehr_etl.sql_on_fhir.definition import Column, Select, ViewDefinition
from ehr_fhir.fhirpath.syntax import Call, Member, iterate_nodes

_KEY_FUNCTIONS = frozenset({"getResourceKey", "getReferenceKey"})
# Elements that identify a resource, or hold what identifies one.
_KEY_ELEMENTS = frozenset({"id", "reference", "identifier", "fullUrl", "url"})


def key_columns(view: ViewDefinition) -> frozenset[str]:
    """Return the names of the columns whose value is a key or made of one."""
    columns = (column for select in view.selects for column in _columns(select))
    return frozenset(column.name for column in columns if _reads_key(column))


def _columns(select: Select) -> Iterator[Column]:
    yield from select.columns
    for inner in (*select.selects, *select.unions):
        yield from _columns(inner)


def _reads_key(column: Column) -> bool:
    return any(
        (isinstance(node, Call) and node.name in _KEY_FUNCTIONS)
        or (isinstance(node, Member) and node.name in _KEY_ELEMENTS)
        for node in iterate_nodes(column.path)
    )
