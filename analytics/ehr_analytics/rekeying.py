"""Which columns of a view are hashed under a project's key, so that projects cannot be joined."""

from __future__ import annotations

from collections.abc import Iterable

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.sql_on_fhir.keys import key_columns


def select_rekeyed_columns(view: str, columns: Iterable[str]) -> frozenset[str]:
    """Return those of the columns that hold keys, or whose name says so.

    A name alone decides for a user's own view, whose definition is not here.

    >>> sorted(select_rekeyed_columns("my_view", ("id", "patient_id", "sex")))
    ['id', 'patient_id']
    """
    keys = key_columns(load_view(view)) if view in list_view_names() else frozenset()
    return frozenset(column for column in columns if column in keys or _is_named_as_key(column))


def _is_named_as_key(column: str) -> bool:
    return column == "id" or column.endswith(("_id", "_key", "_reference"))
