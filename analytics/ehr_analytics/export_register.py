"""Exports of views in the register: their states, their files, and how both end.

An export has a row and a folder. The process that writes it holds a lock on the folder, which the
operating system releases when the process ends, however it ends: an export that is not done and
that nobody holds was cut off by a restart, and says so. Rows and files go when the export expires.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ehr_analytics.held_lock import is_held
from ehr_analytics.register import Register
from ehr_fhir.errors import NotFound

__all__ = [
    "PENDING",
    "ExportedView",
    "ViewExport",
    "begin_export",
    "change_export",
    "erase_expired",
    "erase_files",
    "export_folder",
    "is_pending",
    "read_export",
    "read_live_exports",
    "watch_expiry",
]

PENDING = frozenset({"accepted", "in-progress"})
_CUT_OFF = "Unavailable", "The export was cut off by a restart of the server: start it again."
_LOCK = "lock"
# Chosen: files go within a minute of their expiry.
_SECONDS_BETWEEN_SWEEPS = 60.0
_watched: set[Path] = set()
_watch_lock = threading.Lock()


@dataclass(frozen=True)
class ExportedView:
    """A view of an export: the name its reader gave it; its rows and media type once it is done."""

    # Empty for a view of the person's own.
    view: str
    name: str
    rows: int | None = None
    media_type: str = ""
    definition: Mapping[str, object] | None = None

    @property
    def label(self) -> str:
        """Return what the log calls it: its name, or the digest of a definition."""
        if self.definition is None:
            return self.view
        text = json.dumps(self.definition, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ViewExport:
    """An export as the register has it; times are seconds since 1970."""

    id: str
    project: str
    who: str
    state: str
    started: float
    expires: float
    media: str
    views: tuple[ExportedView, ...]
    tracking_id: str | None = None
    ended: float | None = None
    # What failed: the class of the error and its text.
    error: tuple[str, str] | None = None

    @property
    def done(self) -> int:
        """Return how many views are written."""
        return sum(view.rows is not None for view in self.views)


def export_folder(register: Register, export_id: str) -> Path:
    """Return where the files of an export lie."""
    return register.folder / "exports" / export_id


def begin_export(register: Register, export: ViewExport) -> BinaryIO:
    """Put a new export into the register and its project's log; return the lock of its folder.

    Whoever closes the lock says that no process works on the export any more.
    """
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO export(id, project, who, state, started, expires, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (export.id, export.project, export.who, export.state, export.started, export.expires,
             _to_detail(export)),
        )  # fmt: skip
        detail = {"export": export.id, "tables": [view.label for view in export.views]}
        register.append_event(connection, export.project, export.who, "export", detail=detail)
        # Within the transaction: no folder is without its row, no row without its lock.
        folder = export_folder(register, export.id)
        folder.mkdir(mode=0o700, parents=True)
        lock = (folder / _LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def change_export(register: Register, export: ViewExport, before: frozenset[str]) -> bool:
    """Store an export that was in one of some states; False, and nothing done, where it was not.

    A change of state is in the project's log.
    """
    with register.transaction() as connection:
        row = connection.execute("SELECT state FROM export WHERE id = ?", (export.id,)).fetchone()
        if row is None or row["state"] not in before:
            return False
        connection.execute(
            "UPDATE export SET state = ?, detail = ? WHERE id = ?",
            (export.state, _to_detail(export), export.id),
        )
        if row["state"] != export.state:
            refused = {"refused": export.error[0]} if export.error else {}
            register.append_event(
                connection, export.project, export.who, "export",
                before=row["state"], after=export.state,
                detail={"export": export.id, **refused},
            )  # fmt: skip
        return True


def read_export(register: Register, login: str, export_id: str) -> ViewExport:
    """Return an export of a person; one of somebody else is not there.

    One that is not done and that no process works on has failed.
    """
    with register.transaction() as connection:
        row = connection.execute(
            "SELECT * FROM export WHERE id = ? AND who = ? AND expires > ?",
            (export_id, login, register.clock().timestamp()),
        ).fetchone()
    if row is None:
        raise NotFound("You have no such export: it may have expired.")
    export = _from_row(row)
    if export.state not in PENDING or is_held(export_folder(register, export.id) / _LOCK):
        return export
    failed = replace(export, state="failed", error=_CUT_OFF, ended=register.clock().timestamp())
    if change_export(register, failed, PENDING):
        erase_files(register, export.id)
        return failed
    # Its process ended it in this very moment.
    return read_export(register, login, export_id)


def is_pending(register: Register, export_id: str) -> bool:
    """Say whether an export is neither done nor cancelled, whichever process was asked to."""
    with register.transaction() as connection:
        row = connection.execute("SELECT state FROM export WHERE id = ?", (export_id,)).fetchone()
    return row is not None and row["state"] in PENDING


def read_live_exports(register: Register) -> list[ViewExport]:
    """Return the exports that have not expired."""
    with register.transaction() as connection:
        rows = connection.execute(
            "SELECT * FROM export WHERE expires > ?", (register.clock().timestamp(),)
        ).fetchall()
    return [_from_row(row) for row in rows]


def erase_files(register: Register, export_id: str) -> None:
    """Erase the files of an export."""
    shutil.rmtree(export_folder(register, export_id), ignore_errors=True)


def erase_expired(register: Register) -> int:
    """Erase rows and files of exports that have expired; return how many are left.

    Files without a row, of a register that was put back from a backup, go too.
    """
    with register.transaction() as connection:
        connection.execute("DELETE FROM export WHERE expires <= ?", (register.clock().timestamp(),))
        left = {row["id"] for row in connection.execute("SELECT id FROM export")}
        folder = register.folder / "exports"
        # Within the transaction, so that no export begins between the look and the erasure.
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in left:
                shutil.rmtree(path, ignore_errors=True)
    return len(left)


def watch_expiry(data: Path) -> None:
    """Erase what expires, on a thread for each data folder that ends when no export is left."""
    with _watch_lock:
        if data in _watched or not (data / "research" / "exports").is_dir():
            return
        _watched.add(data)
    threading.Thread(target=_watch, args=(data,), name="export-expiry", daemon=True).start()


def _watch(data: Path) -> None:
    pause = threading.Event()
    while True:
        with _watch_lock:
            try:
                is_over = not erase_expired(Register(data))
            except (sqlite3.Error, NotFound, OSError):
                # The folder is gone, or its disk does not answer: an export begins the watch anew.
                is_over = True
            if is_over:
                _watched.discard(data)
                return
        pause.wait(_SECONDS_BETWEEN_SWEEPS)


_IN_COLUMNS = frozenset({"id", "project", "who", "state", "started", "expires"})


def _to_detail(export: ViewExport) -> str:
    return json.dumps(
        {key: value for key, value in asdict(export).items() if key not in _IN_COLUMNS}
    )


def _from_row(row: sqlite3.Row) -> ViewExport:
    detail = json.loads(row["detail"])
    columns = {key: row[key] for key in _IN_COLUMNS}
    detail["views"] = tuple(ExportedView(**view) for view in detail["views"])
    detail["error"] = tuple(detail["error"]) if detail["error"] else None
    return ViewExport(**columns, **detail)
