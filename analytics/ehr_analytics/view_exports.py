"""Exports of a project's views into files, written in the background (SQL on FHIR v2).

The rights are judged when an export starts and at each download. Files hold rows as they were: so
each export keeps whom its rows are about, and once a decision about one of them changes, it is
given out no more and its files are erased.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO

from ehr_analytics import export_register as exports
from ehr_analytics.export_register import PENDING, ExportedView, ViewExport
from ehr_analytics.gold_views import open_gold_views
from ehr_analytics.project import Project
from ehr_analytics.project_jobs import build_view_query, prepare_job
from ehr_analytics.query_process import run_in_process
from ehr_analytics.register import Register
from ehr_analytics.row_access import require_row_project
from ehr_analytics.table_formats import require_format
from ehr_analytics.withheld import (
    ChangedSubjects,
    DecisionBasis,
    list_changed_since,
    read_basis,
)
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import (
    Conflict,
    EhrError,
    Fault,
    Gone,
    NotFound,
    TooCostly,
    TooMany,
    Unavailable,
    Unprocessable,
)

__all__ = ["LIMITS", "ExportLimits", "ViewExports"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# Whom the rows of an export are about, and the decisions that they are made by.
_SUBJECTS = "subjects.json"
_ERRORS = {
    kind.__name__: kind
    for kind in (Conflict, Gone, NotFound, TooCostly, Unavailable, Unprocessable)
}
_NOT_READABLE = "Somebody in these files may not be read any more"
_NOT_THERE = "The files are not there any more"
# One at a time in each process: the others wait for it in their threads.
_write_lock = threading.Lock()


# Chosen: ten times what a query gives at once, in as much more time.
_QUERY_LIMITS = QueryLimits(memory_mb=1024, threads=2, seconds=300, rows=1_000_000)


@dataclass(frozen=True)
class ExportLimits:
    """What exports may use."""

    # Of each view.
    query: QueryLimits = _QUERY_LIMITS
    # Of each file.
    file_mb: int = 1024
    views: int = 20
    # Chosen: a working day and a night. Whoever is late starts it again.
    seconds_kept: float = 24 * 3600
    # Of a person, and of all.
    exports_of_person: int = 5
    exports: int = 20


LIMITS = ExportLimits()


@dataclass(frozen=True)
class ViewExports:
    """Exports of the projects of a register; some people's rows are withheld."""

    register: Register
    changed: ChangedSubjects
    limits: ExportLimits = LIMITS

    def start(
        self,
        login: str,
        project_id: str,
        views: Sequence[ExportedView],
        *,
        media: str,
        tracking_id: str | None = None,
    ) -> ViewExport:
        """Start an export of views of a project; it is written on a thread of its own."""
        register = self.register
        project = require_row_project(register, login, project_id)
        require_format(media)
        self._check_views(project, views)
        exports.erase_expired(register)
        self._check_capacity(login)
        now = register.clock().timestamp()
        export = ViewExport(
            secrets.token_hex(16), project.id, login, "accepted", now,
            now + self.limits.seconds_kept, media, tuple(views), tracking_id,
        )  # fmt: skip
        lock = exports.begin_export(register, export)
        exports.watch_expiry(register.data)
        name = f"export-{export.id}"
        threading.Thread(target=self._write, args=(export, lock), name=name, daemon=True).start()
        return export

    def read(self, login: str, export_id: str) -> ViewExport:
        """Return an export of a person who may still read its project's rows."""
        export = exports.read_export(self.register, login, export_id)
        require_row_project(self.register, login, export.project)
        if export.error is not None:
            kind, text = export.error
            raise _ERRORS.get(kind, Fault)(text)
        if export.state == "cancelled":
            raise NotFound("The export was cancelled.")
        return export

    def cancel(self, login: str, export_id: str) -> None:
        """Cancel an export, or give up its files; both are erased at once."""
        export = exports.read_export(self.register, login, export_id)
        if export.state == "cancelled":
            raise NotFound("The export was cancelled.")
        ended = replace(export, state="cancelled", ended=self.register.clock().timestamp())
        exports.change_export(self.register, ended, PENDING | {"completed", "failed"})
        exports.erase_files(self.register, export_id)

    def open_file(self, login: str, export_id: str, number: int) -> tuple[BinaryIO, str]:
        """Return a file of a finished export, open, and its media type; the log has each download.

        Gone, and its files erased, where the decision about somebody in it has changed.
        """
        export = self.read(login, export_id)
        if export.state != "completed" or not 0 <= number < len(export.views):
            raise NotFound("The export has no such file.")
        self._require_unchanged(export)
        folder = exports.export_folder(self.register, export_id)
        try:
            content = (folder / str(number)).open("rb")
        except FileNotFoundError:
            # An erasure took it.
            raise self._withdraw(export, _NOT_THERE) from None
        with self.register.transaction() as log:
            detail = {"export": export.id, "table": export.views[number].view}
            self.register.append_event(log, export.project, login, "download", detail=detail)
        return content, export.views[number].media_type

    def _require_unchanged(self, export: ViewExport) -> None:
        path = exports.export_folder(self.register, export.id) / _SUBJECTS
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise self._withdraw(export, _NOT_THERE) from None
        due = tuple((int(when), subject) for when, subject in content["due"])
        basis = DecisionBasis(content["epoch"], content["number"], due)
        changed = list_changed_since(self.register.data, self.changed, basis)
        if not changed.isdisjoint(content["subjects"]):
            raise self._withdraw(export, _NOT_READABLE)

    def _withdraw(self, export: ViewExport, why: str) -> Gone:
        """Erase the files of a finished export, which has failed from now on; return its error."""
        refusal = Gone(f"{why}: start the export again.")
        failed = replace(export, state="failed", error=(Gone.__name__, str(refusal)))
        exports.change_export(self.register, failed, frozenset({"completed"}))
        exports.erase_files(self.register, export.id)
        return refusal

    def _check_views(self, project: Project, views: Sequence[ExportedView]) -> None:
        if not 0 < len(views) <= self.limits.views:
            raise Unprocessable(f"Export from 1 to {self.limits.views} views at a time.")
        if not all(_NAME.fullmatch(view.name) for view in views):
            raise Unprocessable(
                "The name of an output is a letter, then letters, digits and underscores."
            )
        if len({view.name for view in views}) < len(views):
            raise Unprocessable("Two outputs have the same name.")
        columns = project.columns_by_view()
        for view in views:
            if view.view not in columns:
                raise NotFound(f"{view.view} is not a view of the project {project.id}.")

    def _check_capacity(self, login: str) -> None:
        kept = [
            export
            for export in exports.read_live_exports(self.register)
            if export.state in PENDING | {"completed"}
        ]
        if sum(export.who == login for export in kept) >= self.limits.exports_of_person:
            most = self.limits.exports_of_person
            raise TooMany(f"You have {most} exports: cancel one that you do not need.")
        free_mb = shutil.disk_usage(self.register.folder).free // 2**20
        if len(kept) >= self.limits.exports or free_mb < 2 * self.limits.file_mb:
            raise Unavailable("There is no room for another export: try again later.")

    def _write(self, export: ViewExport, lock: BinaryIO) -> None:
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
            written, found = self._write_view(export, number, view.view)
            subjects.update(found)
            views = tuple(written if at == number else each for at, each in enumerate(export.views))
            export = replace(export, views=views)
        folder = exports.export_folder(self.register, export.id)
        if not folder.is_dir():
            return None
        # Not in the register, whose rows hold nothing of a patient.
        content = json.dumps({**asdict(basis), "subjects": sorted(subjects)})
        (folder / _SUBJECTS).write_text(content, "ascii")
        return replace(export, state="completed")

    def _write_view(
        self, export: ViewExport, number: int, view: str
    ) -> tuple[ExportedView, tuple[str, ...]]:
        # The rights may have ended while this waited.
        project = require_row_project(self.register, export.who, export.project)
        columns = project.columns_by_view()[view]
        job = prepare_job(
            self.register, project, self.changed,
            open_gold_views(self.register.data, {view: columns}),
            sql=build_view_query(view, columns), media=export.media, limits=self.limits.query,
        )  # fmt: skip
        # By number: the name that a reader gives is never part of a path.
        path = exports.export_folder(self.register, export.id) / str(number)
        answer = run_in_process(
            replace(job, output=str(path), output_mb=self.limits.file_mb, names_subjects=True)
        )
        written = replace(export.views[number], rows=answer.rows, media_type=answer.media_type)
        return written, answer.subjects
