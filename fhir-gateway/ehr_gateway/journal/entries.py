"""Journal entries: one JSON line per transaction, in a hash chain, encrypted (ChaCha20-Poly1305).

An entry is on disk before its transaction commits, so the file alone does not say whether the
transaction did commit. Each entry therefore records two numbers:

- `store_head_number`: the entry that the store's own setting named as its newest, as this
  transaction saw it. Entries of rolled-back transactions are skipped by it.
- `committed_number`: the same as all other connections saw it, so this entry had committed.

The committed entries are the chain of `store_head_number` back from the newest `committed_number`.
Entries after that one are in doubt, unless the last entry is a quiescent checkpoint: written when
no transaction was in progress, it proves that they were rolled back.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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

# RFC 8439: a 96-bit nonce, here random and stored before the ciphertext, and a 256-bit key.
_NONCE_BYTES = 12
KEY_BYTES = 32


class JournalDamaged(Exception):
    """The journal is not as it was written; the message says how, without any entry's content."""


@dataclass(frozen=True)
class ChainHead:
    """A position in the hash chain: the number of an entry and the SHA-256 of its line.

    The default is the position before the first entry.
    """

    number: int = 0
    digest: str = ""


@dataclass(frozen=True)
class SealedEntry:
    """An entry as it is in the file, still encrypted."""

    number: int
    store_head_number: int
    committed_number: int
    # Whether no other transaction was in progress when it was written.
    quiescent: bool
    # The SHA-256 of the line before, in hexadecimal; empty for the first.
    previous_digest: str
    # The nonce and the ciphertext with its tag, in base64.
    ciphertext: str
    # The SHA-256 of this line, in hexadecimal.
    digest: str

    @property
    def associated_data(self) -> bytes:
        """The fields in clear, as the ciphertext's tag authenticates them."""
        return _build_associated_data(
            self.number,
            self.store_head_number,
            self.committed_number,
            self.quiescent,
            self.previous_digest,
        )

    @property
    def head(self) -> ChainHead:
        """The head of a chain that ends with this entry."""
        return ChainHead(self.number, self.digest)


@dataclass(frozen=True)
class Entry:
    """A decrypted entry: the redo actions of one transaction, and when it was written."""

    sealed: SealedEntry
    # Milliseconds since 1970.
    at_ms: int
    redo_actions: tuple[RedoAction, ...]
    # The epoch of the store that wrote it; empty in entries of versions before there was one.
    epoch: str = ""


@dataclass(frozen=True)
class ClassifiedEntries:
    """The entries that committed, in order, and those in doubt; rolled-back ones are in neither."""

    committed: tuple[Entry, ...]
    in_doubt: tuple[Entry, ...]


def seal_entry(
    key: bytes,
    store_id: str,
    *,
    number: int,
    store_head_number: int,
    committed_number: int,
    previous_digest: str,
    at_ms: int,
    redo_actions: Sequence[RedoAction],
    epoch: str,
    quiescent: bool = False,
) -> bytes:
    """Encrypt an entry and return its line, without the line feed."""
    nonce = os.urandom(_NONCE_BYTES)
    plaintext = orjson.dumps({"at": at_ms, "closings": list(redo_actions), "epoch": epoch})
    # With the store's id in it, an entry of another store's journal does not open.
    associated_data = store_id.encode() + _build_associated_data(
        number, store_head_number, committed_number, quiescent, previous_digest
    )
    ciphertext = nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated_data)
    # The keys are the file format, older than the names of the fields, and must not change.
    return orjson.dumps(
        {
            "number": number,
            "follows": store_head_number,
            "committed": committed_number,
            "settles": quiescent,
            "previous": previous_digest,
            "sealed": base64.b64encode(ciphertext).decode(),
        }
    )


def parse_entry(line: bytes) -> SealedEntry:
    """Parse a line without decrypting it; raise JournalDamaged if it is no entry."""
    try:
        values = orjson.loads(line)
        return SealedEntry(
            number=int(values["number"]),
            store_head_number=int(values["follows"]),
            committed_number=int(values["committed"]),
            quiescent=bool(values["settles"]),
            previous_digest=str(values["previous"]),
            ciphertext=str(values["sealed"]),
            digest=hashlib.sha256(line).hexdigest(),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise JournalDamaged("A line of the journal cannot be read.") from error


def open_entries_after(content: bytes, head: ChainHead, key: bytes, store_id: str) -> list[Entry]:
    """Verify the hash chain after a head, and decrypt the entries after it.

    Raises JournalDamaged if an entry is missing, changed or out of order, or if the file ends
    before the head, or if two stores wrote to it.
    """
    # A last line without a line feed was cut short by a crash: its transaction never committed.
    sealed_entries = [parse_entry(line) for line in content.split(b"\n")[:-1]]
    if not sealed_entries or sealed_entries[-1].number < head.number:
        raise JournalDamaged("The journal ends before the backup.")
    later = [sealed for sealed in sealed_entries if sealed.number > head.number]
    if not later and sealed_entries[-1].head != head:
        raise JournalDamaged("The journal is not the one that the backup knew.")
    last = head
    for sealed in later:
        if sealed.number != last.number + 1:
            raise JournalDamaged(f"Entry {last.number + 1} of the journal is missing.")
        if sealed.previous_digest != last.digest:
            raise JournalDamaged(
                f"Entry {sealed.number} of the journal does not follow the one before it."
            )
        last = sealed.head
    entries = [_open_entry(key, store_id, sealed) for sealed in later]
    _check_epochs(entries)
    return entries


def classify_entries(entries: Sequence[Entry]) -> ClassifiedEntries:
    """Separate the entries whose transactions committed from those in doubt.

    `entries` are consecutive, up to the end of the journal.
    """
    if not entries:
        return ClassifiedEntries((), ())
    last = entries[-1].sealed
    by_number = {entry.sealed.number: entry for entry in entries}
    newest_first: list[Entry] = []
    number = last.committed_number
    while number in by_number:
        newest_first.append(by_number[number])
        number = by_number[number].sealed.store_head_number
    in_doubt = [
        entry
        for entry in entries
        if entry.redo_actions and entry.sealed.number > last.committed_number and not last.quiescent
    ]
    return ClassifiedEntries(tuple(reversed(newest_first)), tuple(in_doubt))


def _open_entry(key: bytes, store_id: str, sealed: SealedEntry) -> Entry:
    try:
        content = base64.b64decode(sealed.ciphertext, validate=True)
        nonce, ciphertext = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
        associated_data = store_id.encode() + sealed.associated_data
        plaintext = ChaCha20Poly1305(key).decrypt(nonce, ciphertext, associated_data)
        values: dict[str, Any] = orjson.loads(plaintext)
    except (InvalidTag, ValueError) as error:
        raise JournalDamaged(f"Entry {sealed.number} of the journal was changed.") from error
    return Entry(sealed, values["at"], tuple(values["closings"]), values.get("epoch", ""))


def _check_epochs(entries: Sequence[Entry]) -> None:
    """Raise JournalDamaged if two stores wrote by turns: one and its restored copy.

    To either the other's entries look as if they were rolled back. A restored store begins where
    the journal ended, and an epoch that has ended does not come back.
    """
    past: set[str] = set()
    for before, entry in pairwise(entries):
        if entry.epoch == before.epoch or not before.epoch:
            continue
        past.add(before.epoch)
        if entry.epoch in past or entry.sealed.store_head_number != before.sealed.number:
            raise JournalDamaged("A store and a restored copy of it wrote to the same journal.")


def _build_associated_data(
    number: int,
    store_head_number: int,
    committed_number: int,
    quiescent: bool,
    previous_digest: str,
) -> bytes:
    fields = (number, store_head_number, committed_number, int(quiescent), previous_digest)
    return "".join(f" {field}" for field in fields).encode()
