"""Finding the journal of a restored store, and judging whether it can be relied on."""

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
    """What a journal says since the backup."""

    path: Path | None
    committed: tuple[Entry, ...] = ()
    # Done most likely; nobody can tell.
    doubtful: tuple[Entry, ...] = ()
    head: ChainHead | None = None
    # Why it cannot be relied on; empty when it can.
    fault: str = ""


def recover_journal(
    folders: Iterable[Path], keys: Path, store: str, head: ChainHead, *, known_entries: int
) -> RecoveredJournal:
    """Read the entries since a backup from the longest journal that holds.

    Where none does: the fault of the first one that there is. One that ends before an entry that is
    known to have been written was cut off.
    """
    key = read_journal_key(keys)
    if key is None:
        return RecoveredJournal(None, fault="The backup is from before there was a journal.")
    paths = [path for folder in folders if (path := journal_path(folder, store)).is_file()]
    found = [_read_journal(path, key, store, head, known_entries) for path in paths]
    holding = [journal for journal in found if journal.head is not None]
    if holding:
        return max(holding, key=lambda journal: journal.head.number if journal.head else 0)
    return found[0] if found else RecoveredJournal(None, fault="The journal is missing.")


def _read_journal(
    path: Path, key: bytes, store: str, head: ChainHead, known_entries: int
) -> RecoveredJournal:
    try:
        entries = open_entries_after(path.read_bytes(), head, key, store)
    except JournalDamaged as error:
        return RecoveredJournal(path, fault=str(error))
    last = entries[-1].line.head if entries else head
    if last.number < known_entries:
        return RecoveredJournal(path, fault="The end of the journal was cut off.")
    outcome = classify_entries(entries)
    fault = ""
    if outcome.doubtful:
        fault = "Whether the last changes were made cannot be told from the journal."
    return RecoveredJournal(path, outcome.committed, outcome.doubtful, last, fault)


def install_journal(found: RecoveredJournal, folder: Path, store: str) -> None:
    """Put a journal where the restored store goes on with it; one that is damaged is set aside."""
    target = journal_path(folder, store)
    holds = found.path is not None and found.head is not None
    if target.exists() and not (holds and found.path is not None and _is_same(found.path, target)):
        target.rename(target.with_name(f"{target.name}.before-restore-{time.time_ns()}"))
    if found.path is not None and holds and not target.exists():
        write_durably(target, found.path.read_bytes())


def _is_same(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other)
