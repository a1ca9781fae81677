"""The tail of the audit log: events after the backup, copied from the installation it replaces.

Rows are copied with their salts and leaf hashes, so every proof and checkpoint of the previous
log verifies against the restored one. If that log is lost, checkpoints may still state its size.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ehr_fhir.errors import EhrError, Invalid, Unavailable
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.database import DATABASE_ERRORS, Connection, Database, open_database
from ehr_gateway.file_lock import lock_file
from ehr_gateway.journal.journal import load_journal_head
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.epoch import load_epoch
from ehr_privacy.audit import open_note

__all__ = [
    "PreviousLog",
    "copy_tail_rows",
    "find_signed_size",
    "install_exported_log",
    "read_checkpoint_notes",
    "read_journal_number",
    "save_exported_log",
]

_COLUMNS = f"seq, {', '.join(CONTENT_COLUMNS)}, salt, leaf"
# Rows per statement. Chosen: bounds memory, whatever the size of the tail.
_BATCH_ROWS = 2000
# Within the folder of `save_exported_log`.
_EXPORTED, _SPOOL = "exported", "spool"


@dataclass(frozen=True)
class PreviousLog:
    """The audit log of the installation that a restore replaces, as far as it still exists."""

    # The settings that name its data folder and database; None if both are lost.
    settings: GatewaySettings | None = None
    # Its signed checkpoints (C2SP signed notes), from a witness or an exported log elsewhere.
    notes: tuple[bytes, ...] = ()


def copy_tail_rows(connection: Connection, previous_log: PreviousLog, size: int) -> int | None:
    """Copy the previous log's rows after the first `size`; return how many there were.

    Returns None if its first rows differ from the restored ones, or if its database is lost or
    cannot be read; then no row is copied.
    """
    if previous_log.settings is None or not _database_exists(previous_log.settings.database):
        return None
    connection.execute("SAVEPOINT tail")
    try:
        with closing(open_database(previous_log.settings.database)) as database:
            if not _begins_with_rows(connection, database, size):
                return None
            copied_rows = 0
            placeholders = ", ".join("?" * (len(CONTENT_COLUMNS) + 3))
            for rows in _rows_after(database, size):
                connection.executemany(
                    f"INSERT INTO audit ({_COLUMNS}) VALUES ({placeholders})",  # noqa: S608
                    rows,
                )
                copied_rows += len(rows)
            _copy_people(connection, database)
            if connection.dialect == "postgresql":
                connection.execute(
                    "UPDATE audit_head SET size = ? WHERE one = 1", (size + copied_rows,)
                )
            return copied_rows
    except (EhrError, *DATABASE_ERRORS):
        connection.execute("ROLLBACK TO SAVEPOINT tail")
        return None
    finally:
        connection.execute("RELEASE SAVEPOINT tail")


def _copy_people(connection: Connection, database: Database) -> None:
    """Copy the people that rows of the previous log are about, and the sets and lists they are in.

    The previous log has gone on from this one, so what it says of a person's number is newer.
    """
    with database.read_transaction() as other:
        connection.executemany(
            "INSERT INTO audit_person (number, patient, since_ms, salt, leaf)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (number)"
            " DO UPDATE SET patient = excluded.patient, salt = excluded.salt",
            map(
                tuple,
                other.execute(
                    "SELECT number, patient, since_ms, salt, leaf FROM audit_person ORDER BY number"
                ),
            ),
        )
        connection.executemany(
            "INSERT INTO audit_counted (block, event, bits) VALUES (?, ?, ?)"
            " ON CONFLICT (block, event) DO NOTHING",
            map(tuple, other.execute("SELECT block, event, bits FROM audit_counted")),
        )
        connection.executemany(
            "INSERT INTO audit_listed (event, person, at_ms, domains, reason)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (event, person) DO NOTHING",
            map(
                tuple,
                other.execute("SELECT event, person, at_ms, domains, reason FROM audit_listed"),
            ),
        )
    if connection.dialect == "postgresql":
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('audit_person', 'number'),"
            " (SELECT coalesce(max(number), 0) + 1 FROM audit_person), false)"
        )


def save_exported_log(previous_log: PreviousLog, folder: Path) -> None:
    """Copy the previous log's tiles, checkpoints and spool to a folder, before its rows are copied.

    An installation that still runs brings events from its spool into its log at any time, and signs
    for them. In this order an event is in the copy of the spool, among the rows, or in both, and
    no checkpoint states more rows than are copied.
    """
    if previous_log.settings is None:
        return
    for path in sorted(previous_log.settings.audit_spool.glob("*.rows")):
        (folder / _SPOOL).mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file that is gone by now is among the rows.
        with suppress(FileNotFoundError):
            shutil.copy2(path, folder / _SPOOL / path.name)
    exported = previous_log.settings.audit_folder
    if exported.is_dir():
        with ExitStack() as stack:
            # A folder that cannot be written is at rest, and so is one whose process has frozen.
            with suppress(OSError, Unavailable):
                lock_file(stack.enter_context((exported / "lock").open("ab")))
            shutil.copytree(exported, folder / _EXPORTED)


def install_exported_log(folder: Path, settings: GatewaySettings) -> None:
    """Put what `save_exported_log` copied in place of the backup's.

    Events of the spool enter the log when the server starts; by their ids, none twice.
    """
    if (folder / _EXPORTED).is_dir():
        shutil.rmtree(settings.audit_folder, ignore_errors=True)
        (folder / _EXPORTED).rename(settings.audit_folder)
    if (folder / _SPOOL).is_dir():
        shutil.rmtree(settings.audit_spool, ignore_errors=True)
        (folder / _SPOOL).rename(settings.audit_spool)


def find_signed_size(previous_log: PreviousLog, settings: GatewaySettings) -> int:
    """Return the largest size that any valid checkpoint of the log states; 0 if there is none."""
    key = LogFolder(settings.audit_folder).read_key()
    notes = list(previous_log.notes)
    if previous_log.settings is not None:
        with suppress(OSError):
            notes += [
                note for note in [LogFolder(previous_log.settings.audit_folder).read_note()] if note
            ]
    sizes = [0]
    for note in notes:
        with suppress(Invalid):
            sizes.append(open_note(note, *key).size if key else 0)
    return max(sizes)


def read_journal_number(previous_log: PreviousLog, store: str) -> int:
    """Return the last journal entry that the replaced database has; 0 if it is lost or another."""
    if previous_log.settings is None or not _database_exists(previous_log.settings.database):
        return 0
    try:
        with (
            closing(open_database(previous_log.settings.database)) as database,
            database.read_transaction() as connection,
        ):
            if load_epoch(connection).store != store:
                return 0
            return load_journal_head(connection).number
    except (EhrError, KeyError, *DATABASE_ERRORS):
        # KeyError: it is of a version from before stores had an id.
        return 0


def read_checkpoint_notes(paths: tuple[Path, ...]) -> tuple[bytes, ...]:
    """Read checkpoints from files; raise Invalid if one cannot be read."""
    try:
        return tuple(path.read_bytes() for path in paths)
    except OSError as error:
        raise Invalid(f"The checkpoint {error.filename} cannot be read.") from error


def _database_exists(database: Path | str) -> bool:
    # SQLite would create a missing file when it is opened. PostgreSQL reports a missing database.
    return isinstance(database, str) or database.exists()


def _begins_with_rows(connection: Connection, database: Database, size: int) -> bool:
    """Say whether another log's first rows have the same leaf hashes as the rows of this one."""
    sql = "SELECT seq, leaf FROM audit WHERE seq <= ? ORDER BY seq"
    with database.read_transaction() as other:
        other_rows = other.execute(sql, (size,))
        own_rows = connection.execute(sql, (size,))
        while True:
            own_row, other_row = own_rows.fetchone(), other_rows.fetchone()
            if own_row is None or other_row is None:
                return own_row is other_row
            if own_row["seq"] != other_row["seq"]:
                return False
            if bytes(own_row["leaf"]) != bytes(other_row["leaf"]):
                return False


def _rows_after(database: Database, size: int) -> Iterator[list[tuple[object, ...]]]:
    last_seq = size
    with database.read_transaction() as connection:
        while rows := connection.execute(
            f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
            (last_seq, _BATCH_ROWS),
        ).fetchall():
            yield [tuple(row) for row in rows]
            last_seq = rows[-1]["seq"]
