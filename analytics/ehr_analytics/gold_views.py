"""A project's gold tables: at one Delta version, with the columns it may read, and their keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from ehr_analytics.project import NOTES_VIEW
from ehr_analytics.query_job import SourceView
from ehr_analytics.rekeying import select_dated_columns, select_rekeyed_columns
from ehr_etl.gold.notes import NOTES_TABLE
from ehr_etl.gold.tables import find_gold_view
from ehr_etl.lake import Lake, gold_table_name
from ehr_fhir.errors import Unavailable, Unprocessable

__all__ = ["GoldView", "open_gold_views"]


@dataclass(frozen=True)
class GoldView:
    """A gold table at one version, and the approved columns of it."""

    name: str
    path: Path
    version: int
    columns: tuple[str, ...]
    # Those of the columns whose every value is hashed under the project's key.
    rekeyed: Collection[str]
    # Those that are dates by their declaration.
    dated: Collection[str] = ()

    def to_source(self) -> SourceView:
        """Return the table as a query's process loads it."""
        rekeyed = tuple(sorted(self.rekeyed))
        return SourceView(
            self.name,
            str(self.path),
            self.version,
            self.columns,
            rekeyed,
            tuple(self.dated),
            self.name == NOTES_VIEW,
        )


def open_gold_views(data: Path, columns_by_view: Mapping[str, Sequence[str]]) -> list[GoldView]:
    """Return the views of a project as they are now; no row is read yet."""
    lake = Lake(data / "lake")
    return [_open_view(lake, view, tuple(columns)) for view, columns in columns_by_view.items()]


def _open_view(lake: Lake, view: str, columns: tuple[str, ...]) -> GoldView:
    path = lake.table_path(NOTES_TABLE if view == NOTES_VIEW else gold_table_name(view))
    try:
        table = DeltaTable(str(path))
    except TableNotFoundError as error:
        command = "ehr lake notes" if view == NOTES_VIEW else "ehr lake run"
        raise Unavailable(f"The lake has no view {view} yet: run `{command}`.") from error
    missing = sorted(set(columns) - {field.name for field in table.schema().fields})
    if missing:
        raise Unprocessable(f"The view {view} has no column {', '.join(missing)}.")
    definition = None if view == NOTES_VIEW else find_gold_view(lake, view)
    rekeyed = select_rekeyed_columns(view, columns, definition)
    dated = () if definition is None else select_dated_columns(columns, definition)
    return GoldView(view, path, int(table.version()), columns, rekeyed, dated)
