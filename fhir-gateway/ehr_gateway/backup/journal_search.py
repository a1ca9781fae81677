"""Finding the journal of a restored store, and judging whether it can be relied on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ehr_gateway.backup.folder import write_durably
from ehr_gateway.journal.entries import Damaged, Entry, Head, entries_after, judge_entries
from ehr_gateway.journal.journal import journal_path, read_key

__all__ = ["FoundJournal", "find_journal", "keep_journal"]


@dataclass(frozen=True)
class FoundJournal:
    """What a journal says since the backup."""

    path: Path | None
    committed: tuple[Entry, ...] = ()
    # Done most likely; nobody can tell.
    doubtful: tuple[Entry, ...] = ()
    head: Head | None = None
    # Why it cannot be relied on; empty when it can.
    fault: str = ""


def find_journal(folders: Iterable[Path], keys: Path, store: str, head: Head) -> FoundJournal:
    """Read the entries since a backup from the first folder whose journal holds.

    The fault of the first one that there is, where none does.
    """
    key = read_key(keys)
    if key is None:
        return FoundJournal(None, fault="The backup is from before there was a journal.")
    faulty: FoundJournal | None = None
    for folder in folders:
        path = journal_path(folder, store)
        if not path.is_file():
            continue
        try:
            entries = entries_after(path.read_bytes(), head, key, store)
        except Damaged as error:
            faulty = faulty or FoundJournal(path, fault=str(error))
            continue
        outcome = judge_entries(entries)
        fault = ""
        if outcome.doubtful:
            fault = "Whether the last changes were made cannot be told from the journal."
        last = entries[-1].line.head if entries else head
        return FoundJournal(path, outcome.committed, outcome.doubtful, last, fault)
    return faulty or FoundJournal(None, fault="The journal is missing.")


def keep_journal(found: FoundJournal, folder: Path, store: str) -> None:
    """Put a journal where the restored store goes on with it; one that is damaged is set aside."""
    target = journal_path(folder, store)
    holds = found.path is not None and found.head is not None
    if target.exists() and not (holds and found.path is not None and _is_same(found.path, target)):
        target.rename(target.with_name(f"{target.name}.before-restore-{time.time_ns()}"))
    if found.path is not None and holds and not target.exists():
        write_durably(target, found.path.read_bytes())


def _is_same(one: Path, other: Path) -> bool:
    return os.path.samefile(one, other)
