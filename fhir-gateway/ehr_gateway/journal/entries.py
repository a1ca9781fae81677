"""Entries of the journal: one line each, chained by hashes, sealed with ChaCha20-Poly1305.

An entry names its number; the last entry that stood in the store when it was written, as its own
transaction saw it (`follows`) and as all others did (`committed`); and the hash of the line before.
What was committed can so be told from what was taken back with its transaction, without the store:
it is the chain of `follows` from the newest `committed` back. What is newer than that is in doubt,
unless the last line settles it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ehr_gateway.journal.redo_actions import RedoAction

__all__ = [
    "KEY_BYTES",
    "ChainHead",
    "ClassifiedEntries",
    "Entry",
    "JournalDamaged",
    "SealedEntry",
    "classify_entries",
    "open_entries_after",
    "parse_entry",
    "seal_entry",
]

_NONCE_BYTES = 12
KEY_BYTES = 32


class JournalDamaged(Exception):
    """The journal is not what was written; the text says how, and holds nothing of an entry."""


@dataclass(frozen=True)
class ChainHead:
    """A place in the journal: the number of an entry, and the hash of its line."""

    number: int = 0
    digest: str = ""


@dataclass(frozen=True)
class SealedEntry:
    """An entry as it stands in the file; not yet opened."""

    number: int
    follows: int
    committed: int
    # Whether nothing was under way when it was written.
    settles: bool
    previous: str
    sealed: str
    digest: str

    @property
    def context(self) -> bytes:
        """What the seal holds beside the closings: nothing of the line can be changed."""
        return _build_associated_data(
            self.number, self.follows, self.committed, self.settles, self.previous
        )

    @property
    def head(self) -> ChainHead:
        """The place after this entry."""
        return ChainHead(self.number, self.digest)


@dataclass(frozen=True)
class Entry:
    """An entry that was opened: what one transaction closed, and when in milliseconds."""

    line: SealedEntry
    at_ms: int
    closings: tuple[RedoAction, ...]


@dataclass(frozen=True)
class ClassifiedEntries:
    """Entries that were committed, in order, and those of which nobody knows."""

    committed: tuple[Entry, ...]
    doubtful: tuple[Entry, ...]


def seal_entry(
    key: bytes,
    store: str,
    *,
    number: int,
    follows: int,
    committed: int,
    previous: str,
    at_ms: int,
    closings: Sequence[RedoAction],
    settles: bool = False,
) -> bytes:
    """Return the line of an entry, without its line feed."""
    nonce = os.urandom(_NONCE_BYTES)
    plain = orjson.dumps({"at": at_ms, "closings": list(closings)})
    context = store.encode() + _build_associated_data(number, follows, committed, settles, previous)
    sealed = nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, context)
    return orjson.dumps(
        {
            "number": number,
            "follows": follows,
            "committed": committed,
            "settles": settles,
            "previous": previous,
            "sealed": base64.b64encode(sealed).decode(),
        }
    )


def parse_entry(line: bytes) -> SealedEntry:
    """Read a line without opening it."""
    try:
        values = orjson.loads(line)
        return SealedEntry(
            int(values["number"]),
            int(values["follows"]),
            int(values["committed"]),
            bool(values["settles"]),
            str(values["previous"]),
            str(values["sealed"]),
            hashlib.sha256(line).hexdigest(),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise JournalDamaged("A line of the journal cannot be read.") from error


def open_entries_after(content: bytes, head: ChainHead, key: bytes, store: str) -> list[Entry]:
    """Return the entries after a place, chain and seals verified; Damaged where one is amiss.

    A half line at the end is of a transaction that was never committed.
    """
    lines = [parse_entry(line) for line in content.split(b"\n")[:-1]]
    if not lines or lines[-1].number < head.number:
        raise JournalDamaged("The journal ends before the backup.")
    later = [line for line in lines if line.number > head.number]
    if not later and lines[-1].head != head:
        raise JournalDamaged("The journal is not the one that the backup knew.")
    last = head
    for line in later:
        if line.number != last.number + 1:
            raise JournalDamaged(f"Entry {last.number + 1} of the journal is missing.")
        if line.previous != last.digest:
            raise JournalDamaged(
                f"Entry {line.number} of the journal does not follow the one before it."
            )
        last = line.head
    return [_open_entry(key, store, line) for line in later]


def classify_entries(entries: Sequence[Entry]) -> ClassifiedEntries:
    """Tell the entries that were committed from those in doubt; the others were taken back."""
    if not entries:
        return ClassifiedEntries((), ())
    last = entries[-1].line
    by_number = {entry.line.number: entry for entry in entries}
    committed: list[Entry] = []
    number = last.committed
    while number in by_number:
        committed.append(by_number[number])
        number = by_number[number].line.follows
    doubtful = [
        entry
        for entry in entries
        if entry.closings and entry.line.number > last.committed and not last.settles
    ]
    return ClassifiedEntries(tuple(reversed(committed)), tuple(doubtful))


def _open_entry(key: bytes, store: str, line: SealedEntry) -> Entry:
    try:
        sealed = base64.b64decode(line.sealed, validate=True)
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        plain = ChaCha20Poly1305(key).decrypt(nonce, rest, store.encode() + line.context)
        values: dict[str, Any] = orjson.loads(plain)
    except (InvalidTag, ValueError) as error:
        raise JournalDamaged(f"Entry {line.number} of the journal was changed.") from error
    return Entry(line, values["at"], tuple(values["closings"]))


def _build_associated_data(
    number: int, follows: int, committed: int, settles: bool, previous: str
) -> bytes:
    return f" {number} {follows} {committed} {int(settles)} {previous}".encode()
