"""Exports as rows: begun, planned, listed, cancelled, forgotten.

What an export gives is decided when a file is fetched (`reader`). A row holds only what was asked
for and by whom; once it has ended, only its position stays, from which a later `_since` goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from ehr_fhir.errors import Gone, NotFound, TooMany
from ehr_gateway.access import Access
from ehr_gateway.bulk_data.members import choose_members
from ehr_gateway.bulk_data.planner import Progress, plan_step
from ehr_gateway.bulk_data.request import ExportRequest
from ehr_gateway.bulk_data.slices import ExportSlice
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store
from ehr_gateway.store.version_positions import first_position_since, newest_position

__all__ = ["BulkExport", "ExportFile", "begin_export", "cancel_export", "continue_export"]
__all__ += ["end_exports_naming_patients", "find_export", "find_file", "list_files"]

# Chosen: a working day and a night. Whoever is late starts it again.
_KEPT_MS = 24 * 3_600_000
# For how long `_since` finds the position of an export that has ended. Chosen: a yearly round.
_REMEMBERED_MS = 400 * 86_400_000
# Of one owner at a time. Chosen: a client has a few under way; more is a fault of its own.
_MOST_EXPORTS = 20
# Of one page of the manifest, whenever they were found: how long that took would tell of rows that
# are hidden. Chosen: some gigabytes.
_FILES_OF_PAGE = 100


@dataclass(frozen=True)
class BulkExport:
    """One export of its owner."""

    id: str
    started_ms: int
    expires_ms: int
    request: ExportRequest
    # None when all its files are known.
    progress: Progress | None


@dataclass(frozen=True)
class ExportFile:
    """A file of an export: its number from 1 on, and its lines."""

    number: int
    part: ExportSlice

    @property
    def page(self) -> int:
        """Return the page of the manifest that names it."""
        return (self.number - 1) // _FILES_OF_PAGE + 1


def begin_export(
    store: Store, access: Access, owner: Sequence[str | None], request: ExportRequest, group: str
) -> BulkExport:
    """Begin an export of what the store holds now."""
    now, name = access.now_ms, secrets.token_hex(16)
    with store.read_transaction() as connection:
        request = choose_members(connection, access, request, group or None)
    sealed = _seal_owner(owner)
    with store.write_transaction() as connection:
        _forget_ended(connection, now)
        row = connection.execute(
            "SELECT COUNT(*) FROM bulk_export WHERE owner = ? AND request IS NOT NULL", (sealed,)
        ).fetchone()
        if row[0] >= _MOST_EXPORTS:
            raise TooMany(f"There are {_MOST_EXPORTS} exports of yours: cancel those not needed.")
        position = newest_position(connection)
        request = replace(request, bounds=_find_bounds(connection, sealed, request, position))
        export = BulkExport(name, now, now + _KEPT_MS, request, Progress())
        connection.execute(
            "INSERT INTO bulk_export"
            " (id, owner, started_ms, expires_ms, position, request, progress)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                name, sealed, now, export.expires_ms, position,
                request.to_json(), Progress().to_json(),
            ),
        )  # fmt: skip
        if request.ignored:
            _insert_files(connection, name, [ExportSlice("error")])
    return export


def find_export(
    store: Store, owner: Sequence[str | None], export_id: str, now_ms: int
) -> BulkExport:
    """Return an export of its owner; to others, and once it has ended, it is not there."""
    with store.read_transaction(single_statement=True) as connection:
        row = connection.execute(
            "SELECT started_ms, expires_ms, request, progress FROM bulk_export"
            " WHERE id = ? AND owner = ?",
            (export_id, _seal_owner(owner)),
        ).fetchone()
    if row is None or row[2] is None:
        raise NotFound("There is no such export of yours.")
    if row[1] <= now_ms:
        raise Gone("The export has expired: start it again.")
    progress = None if row[3] is None else Progress.from_json(row[3])
    return BulkExport(export_id, row[0], row[1], ExportRequest.from_json(row[2]), progress)


def continue_export(store: Store, access: Access, export: BulkExport, seconds: float) -> BulkExport:
    """Look for more of its files for about so many seconds; return where it is then."""
    if export.progress is None:
        return export
    found, progress = plan_step(store, access, export.request, export.progress, seconds)
    with store.write_transaction() as connection:
        # Another request may have made the same step meanwhile, or cancelled the export.
        changed = connection.execute(
            "UPDATE bulk_export SET progress = ?"
            " WHERE id = ? AND progress = ? AND request IS NOT NULL",
            (progress and progress.to_json(), export.id, export.progress.to_json()),
        )
        if changed.rowcount:
            _insert_files(connection, export.id, found)
            return replace(export, progress=progress)
    # It comes again, and finds what the other one did.
    return export


def list_files(store: Store, export_id: str) -> list[ExportFile]:
    """Return the files that are known so far."""
    with store.read_transaction(single_statement=True) as connection:
        rows = connection.execute(
            "SELECT number, slice FROM bulk_export_file WHERE export = ? ORDER BY number",
            (export_id,),
        ).fetchall()
    return [ExportFile(row[0], ExportSlice.from_json(row[1])) for row in rows]


def find_file(store: Store, export_id: str, number: int) -> ExportFile:
    """Return one file of an export."""
    with store.read_transaction(single_statement=True) as connection:
        row = connection.execute(
            "SELECT number, slice FROM bulk_export_file WHERE export = ? AND number = ?",
            (export_id, number),
        ).fetchone()
    if row is None:
        raise NotFound("The export has no such file.")
    return ExportFile(row[0], ExportSlice.from_json(row[1]))


def cancel_export(store: Store, export_id: str) -> None:
    """End an export; its files are there no more."""
    with store.write_transaction() as connection:
        _end(connection, [export_id])


def end_exports_naming_patients(connection: Connection) -> None:
    """End all exports whose kick-off may hold something of a patient, since one is erased."""
    rows = connection.execute(
        "SELECT id, request FROM bulk_export WHERE request IS NOT NULL"
    ).fetchall()
    _end(connection, [row[0] for row in rows if ExportRequest.from_json(row[1]).names_patients])


def _seal_owner(owner: Sequence[str | None]) -> str:
    return orjson.dumps(owner).decode()


def _find_bounds(
    connection: Connection, owner: str, request: ExportRequest, position: int
) -> tuple[int, int]:
    """Return after which position an export begins, and up to which it goes."""
    first, last = 0, position
    if request.since is not None:
        first = first_position_since(connection, request.since) - 1
        # Where it goes on from an export of the same owner: exactly from there. A write that was
        # under way then may bear an earlier time and a later position.
        row = connection.execute(
            "SELECT MIN(position) FROM bulk_export WHERE owner = ? AND started_ms = ?",
            (owner, request.since),
        ).fetchone()
        if row[0] is not None:
            first = int(row[0])
    if request.until is not None:
        last = min(last, first_position_since(connection, request.until) - 1)
    return min(first, last), last


def _insert_files(connection: Connection, export_id: str, slices: Sequence[ExportSlice]) -> None:
    row = connection.execute(
        "SELECT COALESCE(MAX(number), 0) FROM bulk_export_file WHERE export = ?", (export_id,)
    ).fetchone()
    connection.executemany(
        "INSERT INTO bulk_export_file (export, number, slice) VALUES (?, ?, ?)",
        [
            (export_id, number, part.to_json())
            for number, part in enumerate(slices, int(row[0]) + 1)
        ],
    )


def _forget_ended(connection: Connection, now_ms: int) -> None:
    rows = connection.execute(
        "SELECT id FROM bulk_export WHERE expires_ms <= ? AND request IS NOT NULL", (now_ms,)
    ).fetchall()
    _end(connection, [row[0] for row in rows])
    connection.execute(
        "DELETE FROM bulk_export WHERE expires_ms <= ? AND request IS NULL",
        (now_ms - _REMEMBERED_MS,),
    )


def _end(connection: Connection, exports: Sequence[str]) -> None:
    ended = [(export,) for export in exports]
    connection.executemany(
        "UPDATE bulk_export SET request = NULL, progress = NULL WHERE id = ?", ended
    )
    connection.executemany("DELETE FROM bulk_export_file WHERE export = ?", ended)
