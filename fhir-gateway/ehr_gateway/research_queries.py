"""The port by which operations reach the lake: the gateway and the lake do not know each other.

`ehr_cli` composes them. Whoever implements it decides what a person may read, by their project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

# Type and id of whatever's decision changed after a number of an epoch of the feed.
ChangedSubjects = Callable[[int, str], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class TableContent:
    """A table in a format."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class ExportOutput:
    """A view to export, and the name that its reader gives it; a definition of their own."""

    view: str
    name: str
    definition: Mapping[str, object] | None = None


@dataclass(frozen=True)
class ExportStatus:
    """An export of views: how far it is; times are seconds since 1970."""

    id: str
    # A code of SQL on FHIR's ExportStatusCodes.
    state: str
    media: str
    tracking_id: str | None
    outputs: tuple[ExportOutput, ...]
    # How many of the outputs are written.
    done: int
    started: float
    expires: float
    ended: float | None


class ResearchQueries(Protocol):
    """Queries over de-identified tables, under a project of the person who asks.

    `changed` tells about whom the lake may not have heard yet: their rows are left out.
    """

    def run_view(
        self,
        login: str,
        project: str,
        view: str,
        *,
        media: str,
        most: int | None,
        changed: ChangedSubjects,
    ) -> TableContent:
        """Return the approved columns of a view of the project."""

    def run_own_view(
        self,
        login: str,
        project: str,
        definition: Mapping[str, object],
        *,
        media: str,
        most: int | None,
        changed: ChangedSubjects,
    ) -> TableContent:
        """Return the rows of a ViewDefinition of the person's own over de-identified records."""

    def run_sql(
        self,
        login: str,
        project: str,
        sql: str,
        parameters: Mapping[str, str | int | float | bool],
        *,
        media: str,
        most: int | None,
        changed: ChangedSubjects,
    ) -> TableContent:
        """Return the rows of one SELECT over the views of the project."""

    def start_export(
        self,
        login: str,
        project: str,
        outputs: Sequence[ExportOutput],
        *,
        media: str,
        tracking_id: str | None,
        changed: ChangedSubjects,
    ) -> ExportStatus:
        """Start to write views of the project into files."""

    def read_export(self, login: str, export_id: str) -> ExportStatus:
        """Return an export of the person; raise the error of one that failed."""

    def cancel_export(self, login: str, export_id: str) -> None:
        """Cancel an export of the person, or give up its files."""

    def open_export_file(
        self, login: str, export_id: str, number: int, *, changed: ChangedSubjects
    ) -> tuple[BinaryIO, str]:
        """Return a file of an export, open, and its media type."""
