"""Recovery of a restored store's journal: find it, verify it, and put it in place."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ehr_gateway.backup.folder import write_durably
from ehr_gateway.journal.entries import (
    ChainHead,
    Entry,
    JournalDamaged,
    classify_entries,
    open_entries_after,
)
from ehr_gateway.journal.journal import journal_path, read_journal_key

__all__ = ["RecoveredJournal", "install_journal", "recover_journal"]


@dataclass(frozen=True)
class RecoveredJournal:
    """The journal's entries since a backup, and whether they are complete."""

    # None if there is no journal.
    path: Path | None
    committed: tuple[Entry, ...] = ()
    # Entries of which the journal does not say whether their transactions committed.
    in_doubt: tuple[Entry, ...] = ()
    # The head of its hash chain; None if the chain is missing or broken.
    head: ChainHead | None = None
    # Why it cannot be relied on, a sentence; empty if it can.
    fault: str = ""


def recover_journal(
    folders: Iterable[Path],
    keys: Path,
    store_id: str,
    head: ChainHead,
    *,
    known_entry_number: int,
) -> RecoveredJournal:
    """Read the entries after a backup's head from the longest journal whose hash chain is intact.

    A journal that ends before `known_entry_number`, the newest entry that any backup knows of, was
    truncated and does not count as intact. If no journal is intact, returns the first one with its
    fault; if there is none, the fault says so.
    """
    key = read_journal_key(keys)
    if key is None:
        return RecoveredJournal(None, fault="The backup is from before there was a journal.")
    paths = [path for folder in folders if (path := journal_path(folder, store_id)).is_file()]
    journals = [_read_journal(path, key, store_id, head, known_entry_number) for path in paths]
    intact = [journal for journal in journals if journal.head is not None]
    if intact:
        return max(intact, key=lambda journal: journal.head.number if journal.head else 0)
    return journals[0] if journals else RecoveredJournal(None, fault="The journal is missing.")


def install_journal(journal: RecoveredJournal, folder: Path, store_id: str) -> None:
    """Copy an intact journal to where the restored store will append to it.

    Another file in that place is renamed, not overwritten: it may be the better copy of a journal
    that this restore could not read.
    """
    target = journal_path(folder, store_id)
    source = journal.path if journal.head is not None else None
    if target.exists() and not (source is not None and os.path.samefile(source, target)):
        target.rename(target.with_name(f"{target.name}.before-restore-{time.time_ns()}"))
    if source is not None and not target.exists():
        write_durably(target, source.read_bytes())


def _read_journal(
    path: Path, key: bytes, store_id: str, head: ChainHead, known_entry_number: int
) -> RecoveredJournal:
    try:
        entries = open_entries_after(path.read_bytes(), head, key, store_id)
    except JournalDamaged as error:
        return RecoveredJournal(path, fault=str(error))
    last_head = entries[-1].sealed.head if entries else head
    if last_head.number < known_entry_number:
        return RecoveredJournal(path, fault="The end of the journal was cut off.")
    classified = classify_entries(entries)
    fault = ""
    if classified.in_doubt:
        fault = "Whether the last changes were made cannot be told from the journal."
    return RecoveredJournal(path, classified.committed, classified.in_doubt, last_head, fault)
