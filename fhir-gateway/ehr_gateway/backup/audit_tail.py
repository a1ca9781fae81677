"""The audit log's end that a backup lacks: taken over where the old log still is, else its size.

Rows are taken over as they are, with their salts and leaves, so every proof and checkpoint of the
old log holds for the restored one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ehr_fhir.errors import EhrError, Invalid
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.database import DATABASE_ERRORS, Connection, Database, open_database
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.audit import open_note

__all__ = [
    "PreviousLog",
    "copy_exported_log",
    "copy_tail_rows",
    "find_signed_size",
    "read_checkpoint_notes",
]

_COLUMNS = f"seq, {', '.join(CONTENT_COLUMNS)}, salt, leaf"
_BATCH = 2000


@dataclass(frozen=True)
class PreviousLog:
    """The log of the installation that is replaced, as far as it is still there."""

    # Its data folder and database; None where they are lost.
    settings: GatewaySettings | None = None
    # Checkpoints that were signed for it: a witness's copy, or an exported folder elsewhere.
    notes: tuple[bytes, ...] = ()


def copy_tail_rows(connection: Connection, old: PreviousLog, size: int) -> int | None:
    """Add the old log's rows after the first `size`; return how many there were.

    None where its first rows are others, or its database is lost or cannot be read.
    """
    if old.settings is None or not _database_exists(old.settings.database):
        return None
    connection.execute("SAVEPOINT tail")
    try:
        with closing(open_database(old.settings.database)) as database:
            if not _begins_with_rows(connection, database, size):
                return None
            count = 0
            marks = ", ".join("?" * (len(CONTENT_COLUMNS) + 3))
            for rows in _rows_after(database, size):
                connection.executemany(
                    f"INSERT INTO audit ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
                    rows,
                )
                count += len(rows)
            if connection.dialect == "postgresql":
                connection.execute("UPDATE audit_head SET size = ? WHERE one = 1", (size + count,))
            return count
    except (EhrError, *DATABASE_ERRORS):
        connection.execute("ROLLBACK TO SAVEPOINT tail")
        return None
    finally:
        connection.execute("RELEASE SAVEPOINT tail")


def copy_exported_log(old: PreviousLog, settings: GatewaySettings) -> None:
    """Put the old log's tiles, checkpoints and waiting rows in the place of the backup's."""
    if old.settings is None:
        return
    if old.settings.audit_folder.is_dir():
        shutil.rmtree(settings.audit_folder, ignore_errors=True)
        shutil.copytree(old.settings.audit_folder, settings.audit_folder)
    # Rows that had not entered the log: they do at the next start, each once.
    for path in sorted(old.settings.audit_spool.glob("*.rows")):
        settings.audit_spool.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(path, settings.audit_spool / path.name)


def find_signed_size(old: PreviousLog, settings: GatewaySettings) -> int:
    """Return the size of the longest log that anybody still holds a checkpoint of; 0 for none."""
    key = LogFolder(settings.audit_folder).read_key()
    notes = list(old.notes)
    if old.settings is not None:
        with suppress(OSError):
            notes += [note for note in [LogFolder(old.settings.audit_folder).read_note()] if note]
    sizes = [0]
    for note in notes:
        with suppress(Invalid):
            sizes.append(open_note(note, *key).size if key else 0)
    return max(sizes)


def read_checkpoint_notes(paths: tuple[Path, ...]) -> tuple[bytes, ...]:
    """Read checkpoints from files; Invalid where one cannot be read."""
    try:
        return tuple(path.read_bytes() for path in paths)
    except OSError as error:
        raise Invalid(f"The checkpoint {error.filename} cannot be read.") from error


def _database_exists(database: Path | str) -> bool:
    # An SQLite file would be made by opening it.
    return isinstance(database, str) or database.exists()


def _begins_with_rows(connection: Connection, database: Database, size: int) -> bool:
    """Say whether another log begins with the rows of this one, by their leaves."""
    sql = "SELECT seq, leaf FROM audit WHERE seq <= ? ORDER BY seq"
    with database.read_transaction() as other:
        theirs = other.execute(sql, (size,))
        ours = connection.execute(sql, (size,))
        while True:
            one, another = ours.fetchone(), theirs.fetchone()
            if one is None or another is None:
                return one is another
            if one[0] != another[0] or bytes(one[1]) != bytes(another[1]):
                return False


def _rows_after(database: Database, size: int) -> Iterator[list[tuple[object, ...]]]:
    last = size
    with database.read_transaction() as connection:
        while rows := connection.execute(
            f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
            (last, _BATCH),
        ).fetchall():
            yield [tuple(row) for row in rows]
            last = rows[-1][0]
