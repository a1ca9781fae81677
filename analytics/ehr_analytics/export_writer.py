"""Writing of exports in the background: a file for each view, under the rights of that moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import BinaryIO

from ehr_analytics import export_register as exports
from ehr_analytics.export_register import PENDING, ExportedView, ViewExport
from ehr_analytics.export_subjects import ExportSubjects, save_subjects
from ehr_analytics.gold_views import open_gold_views
from ehr_analytics.project_jobs import build_job, build_view_query
from ehr_analytics.query_job import OWN_VIEW_QUERY, OwnView
from ehr_analytics.query_process import run_in_process
from ehr_analytics.register import Register
from ehr_analytics.row_access import require_own_views, require_row_project
from ehr_analytics.withheld import ChangedSubjects, find_withheld, read_basis
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import EhrError, Fault

__all__ = ["ExportWriter"]

# One at a time in each process: the others wait for it in their threads.
_write_lock = threading.Lock()


@dataclass(frozen=True)
class ExportWriter:
    """Writes exports, each view within limits and each file within megabytes."""

    register: Register
    changed: ChangedSubjects
    limits: QueryLimits
    file_mb: int

    def write(self, export: ViewExport, lock: BinaryIO) -> None:
        """Write the files of an export, then say how it ended; runs on a thread of its own."""
        register = self.register
        with lock:
            try:
                with _write_lock:
                    ended = self._write_views(export)
            except EhrError as error:
                ended = replace(export, state="failed", error=(type(error).__name__, str(error)))
            except Exception:  # nobody waits for this thread
                text = "The export failed by a fault of the server."
                ended = replace(export, state="failed", error=(Fault.__name__, text))
            if ended is None:
                exports.erase_files(register, export.id)
                return
            ended = replace(ended, ended=register.clock().timestamp())
            is_stored = exports.change_export(register, ended, PENDING)
            if ended.state == "failed" or not is_stored:
                exports.erase_files(register, export.id)

    def _write_views(self, export: ViewExport) -> ViewExport | None:
        """Return the finished export; None where it was cancelled meanwhile."""
        data = self.register.data
        # First, so that what changes meanwhile is found at a download.
        basis = read_basis(data, int(export.expires * 1000))
        export = replace(export, state="in-progress")
        subjects: set[str] = set()
        for number, view in enumerate(export.views):
            if not exports.change_export(self.register, export, PENDING):
                return None
            written, found = self._write_view(export, number, view)
            subjects.update(found)
            views = tuple(written if at == number else each for at, each in enumerate(export.views))
            export = replace(export, views=views)
        folder = exports.export_folder(self.register, export.id)
        if not folder.is_dir():
            return None
        # Not in the register, whose rows hold nothing of a patient.
        save_subjects(folder, ExportSubjects(basis, frozenset(subjects)))
        return replace(export, state="completed")

    def _write_view(
        self, export: ViewExport, number: int, view: ExportedView
    ) -> tuple[ExportedView, tuple[str, ...]]:
        # The rights may have ended while this waited.
        project = require_row_project(self.register, export.who, export.project)
        withheld = find_withheld(self.register.data, self.changed)
        if view.definition is None:
            columns = project.row_columns_by_view()[view.view]
            tables = open_gold_views(self.register.data, {view.view: columns})
            sql, own_view = build_view_query(view.view, columns), None
        else:
            require_own_views(project)
            tables, sql, own_view = [], OWN_VIEW_QUERY, OwnView(view.definition)
        job = build_job(
            self.register,
            project,
            tables,
            withheld=withheld,
            sql=sql,
            media=export.media,
            limits=self.limits,
        )
        # By number: the name that a reader gives is never part of a path.
        path = exports.export_folder(self.register, export.id) / str(number)
        answer = run_in_process(
            replace(
                job,
                output=str(path),
                output_mb=self.file_mb,
                names_subjects=True,
                own_view=own_view,
            ),
            lambda: not exports.is_pending(self.register, export.id),
        )
        written = replace(view, rows=answer.rows, media_type=answer.media_type)
        return written, answer.subjects
