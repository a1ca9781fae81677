"""The journal of a store: closings on disk before the transaction that makes them commits.

The store keeps the number of its last entry in the same transaction, so that a backup knows what it
holds. Writers of all processes take turns (decision 004), so the order of entries is the order of
commits.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, JournaledDatabase
from ehr_gateway.journal.entries import (
    KEY_BYTES,
    ChainHead,
    JournalDamaged,
    SealedEntry,
    parse_entry,
    seal_entry,
)
from ehr_gateway.journal.redo_actions import RedoAction
from ehr_gateway.private_file import create_private_file

__all__ = [
    "HEAD_SETTING",
    "Journal",
    "journal_path",
    "load_journal_head",
    "open_journal",
    "parse_journal_head",
    "read_journal_key",
    "save_journal_head",
]

_LOG = logging.getLogger(__name__)
_KEY_FILE = "journal.key"
# Where the store keeps the last entry it has.
HEAD_SETTING = "journal-head"
_BLOCK = 1 << 16


class Journal:
    """The journal of one store; several processes may append to it."""

    def __init__(self, path: Path, key: bytes, store: str, database: JournaledDatabase) -> None:
        self._path = path
        self._key = key
        self._store = store
        self._database = database
        self._appending = threading.Lock()
        # The file's length when it was last seen settled.
        self._settled_bytes = -1

    def append(self, connection: Connection, closings: Sequence[RedoAction], /) -> None:
        """Have closings on the journal's disk, and the store's head at them, before the commit.

        Unavailable where the journal cannot be written: what cannot be kept is not done.
        """
        head, committed = load_journal_head(connection), self._committed_head()
        line = self._write(head, committed, closings)
        save_journal_head(connection, line.head)

    def settle(self) -> None:
        """Say of the newest entries whether they were committed, once nothing is under way.

        Called about once a second: what is not settled is in doubt for a restore.
        """
        if self._size() == self._settled_bytes:
            return
        with self._database.write_transaction() as connection:
            head, committed = load_journal_head(connection), self._committed_head()
            if head != committed:
                # Another member of this transaction is under way.
                return
            if not self._is_settled(committed):
                self._write(head, committed, (), settles=True)
            self._settled_bytes = self._size()

    def _is_settled(self, committed: ChainHead) -> bool:
        with self._locked() as file:
            try:
                tail = _read_last_entry(file)
            except JournalDamaged:
                return False
        return tail is not None and tail.settles and tail.committed == committed.number

    def _write(
        self,
        head: ChainHead,
        committed: ChainHead,
        closings: Sequence[RedoAction],
        *,
        settles: bool = False,
    ) -> SealedEntry:
        try:
            with self._appending, self._locked() as file:
                last = self._last_place(file, head)
                content = seal_entry(
                    self._key,
                    self._store,
                    number=last.number + 1,
                    follows=head.number,
                    committed=committed.number,
                    previous=last.digest,
                    at_ms=time.time_ns() // 1_000_000,
                    closings=closings,
                    settles=settles,
                )
                _append_durably(file, content + b"\n")
        except OSError as error:
            raise Unavailable("The journal cannot be written. Nothing is changed.") from error
        return parse_entry(content)

    def _last_place(self, file: int, head: ChainHead) -> ChainHead:
        """Return what the next entry follows: the last line, or where the store is beyond it."""
        try:
            tail = _read_last_entry(file)
        except JournalDamaged:
            aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
            aside.write_bytes(self._path.read_bytes())
            os.ftruncate(file, 0)
            _LOG.critical("The journal was damaged: it begins anew, the old one is %s", aside)
            tail = None
        return tail.head if tail is not None and tail.number >= head.number else head

    def _committed_head(self) -> ChainHead:
        """Read the store's head as everybody sees it, whatever this transaction has written."""
        with self._database.read_transaction(single_statement=True) as connection:
            return load_journal_head(connection)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Lend the file to this process alone; it is made when missing."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = not self._path.exists()
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if made:
                _sync_folder(self._path.parent)
            yield file
        finally:
            os.close(file)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def open_journal(folder: Path, keys: Path, store: str, database: JournaledDatabase) -> Journal:
    """Open the journal of a store; its key and its file are made when there are none."""
    path = keys / _KEY_FILE
    if not path.exists():
        create_private_file(path, os.urandom(KEY_BYTES))
    journal = Journal(journal_path(folder, store), path.read_bytes(), store, database)
    database.journal = journal
    try:
        journal.settle()
    except OSError as error:
        raise Unavailable(
            f"The journal's folder {folder} cannot be written: make it, or choose another with the "
            "setting `journal`."
        ) from error
    return journal


def read_journal_key(keys: Path) -> bytes | None:
    """Return the key of a data folder's journal, None where there is none."""
    path = keys / _KEY_FILE
    return path.read_bytes() if path.exists() else None


def journal_path(folder: Path, store: str) -> Path:
    """Return the journal of a store: several may share a folder."""
    return folder / f"{store}.journal"


def load_journal_head(connection: Connection) -> ChainHead:
    """Read the last entry that stands in the store."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (HEAD_SETTING,)).fetchone()
    if row is None:
        return ChainHead()
    return parse_journal_head(bytes(row[0]))


def parse_journal_head(value: bytes) -> ChainHead:
    """Read a head as the store keeps it."""
    values = json.loads(value)
    return ChainHead(values["number"], values["digest"])


def save_journal_head(connection: Connection, head: ChainHead) -> None:
    """Note the last entry in the store."""
    value = json.dumps({"number": head.number, "digest": head.digest}).encode()
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (HEAD_SETTING, value),
    )


def _read_last_entry(file: int) -> SealedEntry | None:
    """Return the last whole line, and cut off a half one, which no transaction relies on."""
    size = os.fstat(file).st_size
    content, start = b"", size
    while start > 0 and content.count(b"\n") < 2:
        begin = max(0, start - _BLOCK)
        content = os.pread(file, start - begin, begin) + content
        start = begin
    whole, feed, half = content.rpartition(b"\n")
    if half:
        os.ftruncate(file, size - len(half))
    return parse_entry(whole.rpartition(b"\n")[2]) if feed else None


def _append_durably(file: int, content: bytes) -> None:
    size = os.fstat(file).st_size
    try:
        written = os.pwrite(file, content, size)
        if written < len(content):
            raise OSError("no room")
        os.fsync(file)
    except OSError:
        # A part of an entry is none.
        os.ftruncate(file, size)
        raise


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
