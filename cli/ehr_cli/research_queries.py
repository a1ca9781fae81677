"""The gateway's port for SQL over the lake, filled with the research platform's row queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ehr_fhir.errors import Fault
from ehr_gateway.research_queries import (
    ChangedSubjects,
    ExportOutput,
    ExportStatus,
    TableContent,
)

if TYPE_CHECKING:
    from ehr_analytics.export_register import ViewExport
    from ehr_analytics.row_queries import RowQueries
    from ehr_analytics.view_exports import ViewExports


@dataclass(frozen=True)
class ProjectQueries:
    """Queries of the projects of a data folder."""

    data: Path

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
        answer = self._row_queries(changed).run_view(login, project, view, media=media, most=most)
        return TableContent(answer.content, answer.media_type)

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
        rows = self._row_queries(changed)
        answer = rows.run_own_view(login, project, definition, media=media, most=most)
        return TableContent(answer.content, answer.media_type)

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
        rows = self._row_queries(changed)
        answer = rows.run_sql(login, project, sql, parameters, media=media, most=most)
        return TableContent(answer.content, answer.media_type)

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
        from ehr_analytics.export_register import ExportedView

        views = [
            ExportedView(output.view, output.name, definition=output.definition)
            for output in outputs
        ]
        return _to_status(
            self._exports(changed).start(
                login, project, views, media=media, tracking_id=tracking_id
            )
        )

    def read_export(self, login: str, export_id: str) -> ExportStatus:
        """Return an export of the person; raise the error of one that failed."""
        return _to_status(self._exports(_refuse_to_list).read(login, export_id))

    def cancel_export(self, login: str, export_id: str) -> None:
        """Cancel an export of the person, or give up its files."""
        self._exports(_refuse_to_list).cancel(login, export_id)

    def open_export_file(
        self, login: str, export_id: str, number: int, *, changed: ChangedSubjects
    ) -> tuple[BinaryIO, str]:
        """Return a file of an export, open, and its media type."""
        return self._exports(changed).open_file(login, export_id, number)

    def watch_exports(self) -> None:
        """Erase exports as they expire, those of before a restart too."""
        if (self.data / "research" / "exports").is_dir():
            from ehr_analytics.export_register import watch_expiry

            watch_expiry(self.data)

    def _exports(self, changed: ChangedSubjects) -> ViewExports:
        from ehr_analytics.register import Register
        from ehr_analytics.view_exports import ViewExports

        return ViewExports(Register(self.data), changed)

    def _row_queries(self, changed: ChangedSubjects) -> RowQueries:
        # Only here: a gateway that nobody asks for rows loads neither DuckDB nor the lake.
        from ehr_analytics.register import Register
        from ehr_analytics.row_queries import RowQueries

        return RowQueries(Register(self.data), changed)


def _refuse_to_list(number: int, epoch: str) -> list[tuple[str, str]]:
    raise Fault("A step that reads no rows asks for no decisions.")


def _to_status(export: ViewExport) -> ExportStatus:
    outputs = tuple(ExportOutput(view.view, view.name) for view in export.views)
    return ExportStatus(
        export.id, export.state, export.media, export.tracking_id, outputs,
        export.done, export.started, export.expires, export.ended,
    )  # fmt: skip
