"""One row of the log for many people: whom a number counted, as a set that each of them finds.

A row for each of a hundred thousand people would cost more than the count. So the row names nobody;
beside it stands a set of people as a bitmap, and the row's `entities` hold a digest of the set:

    leaf of a person  = SHA-256(0x02 || salt || patient id)
    digest of a set   = SHA-256(the leaves of its people, in the order of their numbers)

The row is a leaf of the Merkle log, so the set can no more be changed than the row. Erasing a
person empties their id and salt: their leaf then says nothing, and every digest still holds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from ehr_gateway.audit_log.append import RowValues
from ehr_gateway.database import Connection
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import SALT_BYTES

__all__ = [
    "BLOCK",
    "PERSON_REFERENCE",
    "SET_PREFIX",
    "NumberedPerson",
    "erase_person",
    "membership_condition",
    "number_people",
    "person_leaf",
    "set_digest",
    "set_numbers",
    "store_set",
    "with_members",
]

# People in one bitmap: 512 bytes at most, so that testing one bit reads little. Chosen.
BLOCK = 4096
# `entities` of a row with a set: this, the number of people, and the digest.
SET_PREFIX = "counted:"
# An erasure's row names a nameless person by this and their number.
PERSON_REFERENCE = "CountedPerson"
_ENTITIES = CONTENT_COLUMNS.index("entities")
_ID = CONTENT_COLUMNS.index("id")
_AT_MS = CONTENT_COLUMNS.index("at_ms")
# Ids in one IN (...): below the limit of SQL parameters of either database.
_BATCH = 500
# The hexadecimal digits in which a bit of four is set.
_DIGITS = [", ".join(f"'{digit:x}'" for digit in range(16) if digit >> bit & 1) for bit in range(4)]


@dataclass(frozen=True)
class NumberedPerson:
    """A person's number, and the leaf by which sets and lists commit to them."""

    number: int
    leaf: bytes


def with_members(row: RowValues, patients: Iterable[str]) -> RowValues:
    """Return a row that carries the people it counted, until `store_set` stores them."""
    return (*row, " ".join(sorted(patients)))


def store_set(connection: Connection, row: RowValues) -> RowValues:
    """Store the people that a row carries; return the row with the digest of the set."""
    *values, members = row
    event, at_ms = str(values[_ID]), values[_AT_MS]
    people = number_people(connection, str(members).split(), at_ms).values()
    leaves = {person.number: person.leaf for person in people}
    blocks: dict[int, bytearray] = {}
    for number in leaves:
        bits = blocks.setdefault(number // BLOCK, bytearray())
        byte, bit = divmod(number % BLOCK, 8)
        bits.extend(bytes(byte + 1 - len(bits)))
        bits[byte] |= 1 << bit
    connection.executemany(
        "INSERT INTO audit_counted (block, event, bits) VALUES (?, ?, ?)",
        [(block, event, bytes(bits)) for block, bits in blocks.items()],
    )
    digest = set_digest(leaves[number] for number in sorted(leaves))
    values[_ENTITIES] = orjson.dumps([f"{SET_PREFIX}{len(leaves)}:{digest}"]).decode()
    return tuple(values)


def person_leaf(salt: bytes, patient: str) -> bytes:
    """Return the hash by which a set commits to a person."""
    return hashlib.sha256(b"\x02" + salt + patient.encode()).digest()


def set_digest(leaves: Iterable[bytes]) -> str:
    """Return the digest of a set, from its people's leaves in the order of their numbers."""
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(leaf)
    return digest.hexdigest()


def set_numbers(block: int, bits: bytes) -> Iterator[int]:
    """Yield the numbers of the people in one bitmap, lowest first.

    >>> list(set_numbers(1, bytes([0b101])))
    [4096, 4098]
    """
    for byte, value in enumerate(bits):
        # Most are empty where few people of a block were counted.
        if not value:
            continue
        for bit in range(8):
            if value >> bit & 1:
                yield block * BLOCK + byte * 8 + bit


def membership_condition(
    connection: Connection, patient: str
) -> tuple[str, dict[str, object]] | None:
    """Return the condition on `audit` for the sets that a patient is in; None if in none."""
    row = connection.execute(
        "SELECT number FROM audit_person WHERE patient = ?", (patient,)
    ).fetchone()
    if row is None:
        return None
    block, place = divmod(int(row["number"]), BLOCK)
    byte, bit = divmod(place, 8)
    # Both databases tell bytes as hexadecimal digits; a byte's first digit has the upper bits.
    written = {
        "sqlite": "lower(hex(substr(bits, :byte, 1)))",
        "postgresql": "encode(substr(bits, CAST(:byte AS integer), 1), 'hex')",
    }[connection.dialect]
    digit = 1 if bit >= 4 else 2
    condition = (
        "id IN (SELECT event FROM audit_counted WHERE block = :block"  # noqa: S608
        f" AND substr({written}, {digit}, 1) IN ({_DIGITS[bit % 4]}))"
    )
    return condition, {"block": block, "byte": byte + 1}


def erase_person(connection: Connection, patient: str, until_ms: int) -> int | None:
    """Make a patient nameless in every set; return the number that erasure is to name."""
    row = connection.execute(
        "SELECT number FROM audit_person WHERE patient = ? AND since_ms <= ?", (patient, until_ms)
    ).fetchone()
    if row is None:
        return None
    connection.execute(
        "UPDATE audit_person SET patient = NULL, salt = ? WHERE number = ?", (b"", row["number"])
    )
    return int(row["number"])


def number_people(
    connection: Connection, patients: Sequence[str], at_ms: object
) -> dict[str, NumberedPerson]:
    """Return the numbers and leaves of patients; whoever has no number gets one."""
    people = dict(_find_people(connection, patients))
    new = [patient for patient in patients if patient not in people]
    rows = []
    for patient in new:
        salt = os.urandom(SALT_BYTES)
        rows.append((patient, at_ms, salt, person_leaf(salt, patient)))
    connection.executemany(
        # Another process may have numbered them meanwhile.
        "INSERT INTO audit_person (patient, since_ms, salt, leaf) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (patient) DO NOTHING",
        rows,
    )
    return people | dict(_find_people(connection, new))


def _find_people(
    connection: Connection, patients: Sequence[str]
) -> Iterator[tuple[str, NumberedPerson]]:
    """Yield patients with their number and leaf."""
    for start in range(0, len(patients), _BATCH):
        batch = patients[start : start + _BATCH]
        # Padded, so that the statement's text does not vary.
        padded = [*batch, *[batch[0]] * (_BATCH - len(batch))]
        rows = connection.execute(
            "SELECT patient, number, leaf FROM audit_person"  # noqa: S608
            f" WHERE patient IN ({', '.join('?' * _BATCH)})",
            padded,
        )
        for row in rows:
            yield row["patient"], NumberedPerson(int(row["number"]), bytes(row["leaf"]))
