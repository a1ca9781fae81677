"""Pseudonyms of a project: which values of a view are hashed under its key, by what they are.

The lake's pseudonyms are the same for all projects, so no project may see them or anything made of
them. A view's definition tells which columns hold keys. On top, any text in which a pseudonym of
the lake stands is hashed whole, whatever a definition says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.sql_on_fhir.definition import Column, Select
from ehr_etl.sql_on_fhir.keys import KeyUse, key_use_by_column
from ehr_fhir.errors import Unprocessable

__all__ = ["select_dated_columns", "select_rekeyed_columns"]

_DATE_TYPES = frozenset({"date", "dateTime", "instant"})


def select_rekeyed_columns(
    view: str, columns: Iterable[str], definition: ViewDefinition | None
) -> frozenset[str]:
    """Return those of the columns whose every value is hashed.

    Raise Unprocessable for a column that is computed from a key: its parts would be the same in two
    projects. A table of no view (None) has no paths to go by, so names decide.

    >>> sorted(select_rekeyed_columns("my_table", ("id", "person_id", "drug_concept_id"), None))
    ['id', 'person_id']
    """
    if definition is None:
        return frozenset(column for column in columns if _is_named_as_key(column))
    uses = key_use_by_column(definition)
    # A column that the definition does not have is one of an older table: it might be anything.
    use_by_column = {column: uses.get(column, KeyUse.WHOLE) for column in columns}
    computed = sorted(name for name, use in use_by_column.items() if use is KeyUse.COMPUTED)
    if computed:
        raise Unprocessable(
            f"The view {view} computes {', '.join(computed)} from a key, or chooses rows by one:"
            " no project may read that. Give the key itself a column of its own."
        )
    return frozenset(name for name, use in use_by_column.items() if use is KeyUse.WHOLE)


def select_dated_columns(columns: Iterable[str], definition: ViewDefinition) -> tuple[str, ...]:
    """Return those of the columns that a view declares as dates."""
    selects = [select for part in definition.parts for select in part.selects]
    declared = {column.name for column in _list_columns(selects) if column.type in _DATE_TYPES}
    return tuple(name for name in columns if name in declared)


def _list_columns(selects: Iterable[Select]) -> Iterator[Column]:
    for select in selects:
        yield from select.columns
        yield from _list_columns((*select.selects, *select.unions))


def _is_named_as_key(column: str) -> bool:
    # Concepts are numbers of a public vocabulary.
    return not column.endswith("_concept_id") and (
        column == "id" or column.endswith(("_id", "_key", "_reference"))
    )
