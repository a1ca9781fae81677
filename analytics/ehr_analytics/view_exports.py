"""Exports of a project's views into files (SQL on FHIR v2): started, read, fetched, cancelled.

The rights are judged when an export starts and at each download. Files hold rows as they were: so
each export keeps whom its rows are about, and once a decision about one of them changes, it is
given out no more and its files are erased.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from ehr_analytics import export_register as exports
from ehr_analytics.export_register import PENDING, ExportedView, ViewExport
from ehr_analytics.export_subjects import load_subjects
from ehr_analytics.export_writer import ExportWriter
from ehr_analytics.project import Project
from ehr_analytics.register import Register
from ehr_analytics.row_access import require_own_views, require_row_project
from ehr_analytics.table_formats import require_format
from ehr_analytics.withheld import ChangedSubjects, list_changed_since
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.sql_on_fhir import parse_view
from ehr_fhir.errors import (
    Conflict,
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
_ERRORS = {
    kind.__name__: kind
    for kind in (Conflict, Gone, NotFound, TooCostly, Unavailable, Unprocessable)
}
_NOT_READABLE = "Somebody in these files may not be read any more"
_NOT_THERE = "The files are not there any more"

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
        writer = ExportWriter(register, self.changed, self.limits.query, self.limits.file_mb)
        name = f"export-{export.id}"
        threading.Thread(target=writer.write, args=(export, lock), name=name, daemon=True).start()
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
            detail = {"export": export.id, "table": export.views[number].label}
            self.register.append_event(log, export.project, login, "download", detail=detail)
        return content, export.views[number].media_type

    def _require_unchanged(self, export: ViewExport) -> None:
        try:
            subjects = load_subjects(exports.export_folder(self.register, export.id))
        except FileNotFoundError:
            raise self._withdraw(export, _NOT_THERE) from None
        changed = list_changed_since(self.register.data, self.changed, subjects.basis)
        if not changed.isdisjoint(subjects.pseudonyms):
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
        columns = project.row_columns_by_view()
        for view in views:
            if view.definition is not None:
                require_own_views(project)
                # The paths are compiled within the limits of the query's process.
                parse_view(view.definition)
            elif view.view not in columns:
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
