"""A query over a project's tables, as a job that a process of its own is given as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ehr_analytics.project_dates import ProjectDates
from ehr_etl.duckdb_session import QueryLimits

__all__ = ["OWN_VIEW", "OWN_VIEW_QUERY", "OwnView", "QueryJob", "SourceView", "Withheld"]

# The table of a view of a person's own, whatever its definition calls it.
OWN_VIEW = "_own_view"
OWN_VIEW_QUERY = f"SELECT * FROM {OWN_VIEW}"  # noqa: S608 - a name of ours


@dataclass(frozen=True)
class SourceView:
    """A table to load: the columns a query sees, and those whose every value is hashed."""

    name: str
    path: str
    version: int
    columns: tuple[str, ...]
    rekeyed: tuple[str, ...]
    # Those that are dates by their declaration, whatever a value looks like.
    dated: tuple[str, ...] = ()
    # Scrubbed notes, whose tokens become tags of the project.
    holds_notes: bool = False


@dataclass(frozen=True)
class OwnView:
    """A ViewDefinition, and its most rows."""

    definition: Mapping[str, object]
    most: int | None = None


@dataclass(frozen=True)
class Withheld:
    """Pseudonyms in the lake of patients and of records that no query may read."""

    patients: tuple[str, ...] = ()
    records: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Say whether anything is withheld."""
        return bool(self.patients or self.records)


@dataclass(frozen=True)
class QueryJob:
    """A query, what it reads, the key of the project, and how it is answered."""

    views: tuple[SourceView, ...]
    # Where the records are that say whose a row is.
    deid: str
    withheld: Withheld
    key: str
    dates: ProjectDates
    sql: str
    parameters: Mapping[str, str | int | float | bool]
    media: str
    limits: QueryLimits
    # The file that the table goes to, and its most megabytes; to standard output without one.
    output: str = ""
    output_mb: int = 0
    # Whether the head names whom the views are about: patients and records by their pseudonyms.
    names_subjects: bool = False
    # A view of a person's own over deid, and what is hashed; the query's tables are none then.
    own_view: OwnView | None = None
    # A code that fewer persons have is shown as a broader one or not at all; 0 counts nobody.
    rare_code_persons: int = 0
    # The database of the vocabulary that the user loaded, whose hierarchy rare codes go up.
    vocabulary: str = ""

    def to_json(self) -> bytes:
        """Return the job as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> QueryJob:
        """Read a job."""
        content = json.loads(text)
        views = tuple(
            SourceView(**{**view, "columns": tuple(view["columns"])}) for view in content["views"]
        )
        withheld = Withheld(**{name: tuple(ids) for name, ids in content["withheld"].items()})
        limits = QueryLimits(**content["limits"])
        own_view = content["own_view"]
        if own_view is not None:
            own_view = OwnView(**own_view)
        dates = ProjectDates(**content["dates"])
        read = {
            "dates": dates,
            "views": views,
            "withheld": withheld,
            "limits": limits,
            "own_view": own_view,
        }
        return cls(**{**content, **read})
