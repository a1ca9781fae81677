"""The journal file of a store: an append-only redo log, on disk before each transaction commits.

The store keeps the chain's head in its own table `setting`, written by the same transaction, so a
backup knows which entries it already includes. All processes write one at a time (decision 004),
so entries are in the order of commits.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, JournaledDatabase, run_blocking
from ehr_gateway.file_lock import lock_file
from ehr_gateway.incidents import WRITES_REFUSED
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
# The setting that holds the store's chain head: the newest entry whose changes it includes.
HEAD_SETTING = "journal-head"
# How much of the file's end is read at a time to find its last line. Chosen: most entries are
# shorter, so one read is enough; a longer one takes several.
_TAIL_BLOCK_BYTES = 64 * 1024


class Journal:
    """The journal of one store; several processes may append to it."""

    def __init__(
        self, path: Path, key: bytes, store_id: str, epoch: str, database: JournaledDatabase
    ) -> None:
        self._path = path
        self._key = key
        self._store_id = store_id
        self._database = database
        self._epoch = epoch
        # `flock` keeps other processes out; this lock, other threads.
        self._append_lock = threading.Lock()
        # The file's size when no entry was in doubt; resolve() has no work until it changes.
        self._resolved_size = -1

    def append(self, connection: Connection, redo_actions: Sequence[RedoAction], /) -> None:
        """Append one entry, and save it as the store's head in the same transaction.

        The entry is on disk when this returns, so before the transaction can commit. Raises
        Unavailable if the journal cannot be written; the transaction must then be rolled back,
        since a restore could not repeat its changes.
        """
        store_head, committed_head = load_journal_head(connection), self._load_committed_head()
        write_entry = partial(self._write_entry, store_head, committed_head, redo_actions)
        entry = run_blocking(write_entry)
        save_journal_head(connection, entry.head)

    def resolve(self) -> None:
        """Resolve the entries in doubt, by appending a quiescent checkpoint.

        The server calls this about once a second: entries still in doubt at a restore close the
        whole store. Does nothing if the last entry is such a checkpoint already.
        """
        if self._file_size() == self._resolved_size:
            return
        with self._database.write_transaction() as connection:
            store_head, committed_head = load_journal_head(connection), self._load_committed_head()
            if store_head != committed_head:
                # This call shares a group commit with a transaction that has appended an entry and
                # may still be rolled back. A later call resolves it.
                return
            if not self._ends_resolved(committed_head):
                self._write_entry(store_head, committed_head, (), quiescent=True)
            self._resolved_size = self._file_size()

    def _ends_resolved(self, committed_head: ChainHead) -> bool:
        with self._locked_file() as file:
            try:
                last_entry = _read_last_entry(file)
            except JournalDamaged:
                # Writing the checkpoint sets the damaged file aside.
                return False
        return (
            last_entry is not None
            and last_entry.quiescent
            and last_entry.committed_number == committed_head.number
        )

    def _write_entry(
        self,
        store_head: ChainHead,
        committed_head: ChainHead,
        redo_actions: Sequence[RedoAction],
        *,
        quiescent: bool = False,
    ) -> SealedEntry:
        try:
            with self._append_lock, self._locked_file() as file:
                chain_head = self._find_chain_head(file, store_head)
                line = seal_entry(
                    self._key,
                    self._store_id,
                    number=chain_head.number + 1,
                    store_head_number=store_head.number,
                    committed_number=committed_head.number,
                    previous_digest=chain_head.digest,
                    at_ms=time.time_ns() // 1_000_000,
                    redo_actions=redo_actions,
                    epoch=self._epoch,
                    quiescent=quiescent,
                )
                _append_durably(file, line + b"\n")
        except OSError as error:
            text = f"The journal cannot be written ({os.strerror(error.errno or 0)})."
            self._database.incidents.begin(WRITES_REFUSED, text)
            raise Unavailable(f"{text} Nothing is changed.") from error
        return parse_entry(line)

    def _find_chain_head(self, file: int, store_head: ChainHead) -> ChainHead:
        """Return the head that the next entry extends: the file's, or the store's if it is newer.

        The store's is newer if the file was lost. A file that cannot be read is set aside and the
        chain continues in a new one; a restore of an older backup then finds the gap.
        """
        try:
            last_entry = _read_last_entry(file)
        except JournalDamaged:
            copy = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
            create_private_file(copy, self._path.read_bytes())
            os.ftruncate(file, 0)
            _LOG.critical("The journal was damaged: it begins anew, the old one is %s", copy)
            last_entry = None
        if last_entry is not None and last_entry.number >= store_head.number:
            return last_entry.head
        return store_head

    def _load_committed_head(self) -> ChainHead:
        """Load the store's head as committed, without this transaction's own changes."""
        with self._database.read_transaction(single_statement=True) as connection:
            return load_journal_head(connection)

    @contextmanager
    def _locked_file(self) -> Iterator[int]:
        """Yield a descriptor of the file, locked against other processes; create it if missing."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_new = not self._path.exists()
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock_file(file)
            if is_new:
                # Else a crash could lose the file's name, and with it every entry.
                _sync_folder(self._path.parent)
            yield file
        finally:
            os.close(file)

    def _file_size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def open_journal(
    folder: Path, keys: Path, store_id: str, epoch: str, database: JournaledDatabase
) -> Journal:
    """Open the journal of a store and attach it to its database.

    Creates the key and the file if they are missing. Raises Unavailable if the folder cannot be
    written.
    """
    path = keys / _KEY_FILE
    if not path.exists():
        create_private_file(path, os.urandom(KEY_BYTES))
    journal = Journal(journal_path(folder, store_id), path.read_bytes(), store_id, epoch, database)
    database.journal = journal
    try:
        journal.resolve()
    except OSError as error:
        raise Unavailable(
            f"The journal's folder {folder} cannot be written: make it, or choose another with the "
            "setting `journal`."
        ) from error
    return journal


def read_journal_key(keys: Path) -> bytes | None:
    """Read the journal's key from a key folder; None if there is none."""
    path = keys / _KEY_FILE
    return path.read_bytes() if path.exists() else None


def journal_path(folder: Path, store_id: str) -> Path:
    """Return the path of a store's journal; several stores may share a folder."""
    return folder / f"{store_id}.journal"


def load_journal_head(connection: Connection) -> ChainHead:
    """Load the store's head from its settings, as the transaction sees it."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (HEAD_SETTING,)).fetchone()
    return ChainHead() if row is None else parse_journal_head(bytes(row[0]))


def parse_journal_head(value: bytes) -> ChainHead:
    """Parse the setting's JSON value."""
    values = json.loads(value)
    return ChainHead(values["number"], values["digest"])


def save_journal_head(connection: Connection, head: ChainHead) -> None:
    """Save the store's head in its settings."""
    value = json.dumps({"number": head.number, "digest": head.digest}).encode()
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (HEAD_SETTING, value),
    )


def _read_last_entry(file: int) -> SealedEntry | None:
    """Read the last entry; None if there is none. Raises JournalDamaged if it cannot be parsed.

    Truncates a line that was cut short by a crash: its transaction cannot have committed.
    """
    size = os.fstat(file).st_size
    content, start = b"", size
    # Two line feeds: the one that ends the last line, and the one before its beginning.
    while start > 0 and content.count(b"\n") < 2:
        block_start = max(0, start - _TAIL_BLOCK_BYTES)
        content = os.pread(file, start - block_start, block_start) + content
        start = block_start
    whole_lines, line_feed, cut_line = content.rpartition(b"\n")
    if cut_line:
        os.ftruncate(file, size - len(cut_line))
    return parse_entry(whole_lines.rpartition(b"\n")[2]) if line_feed else None


def _append_durably(file: int, content: bytes) -> None:
    size = os.fstat(file).st_size
    try:
        written_bytes = os.pwrite(file, content, size)
        if written_bytes < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        # Remove what was written of the line, so that the next entry begins on a line of its own.
        os.ftruncate(file, size)
        raise


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
