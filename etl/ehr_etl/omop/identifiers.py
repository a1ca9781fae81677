"""Integer keys of the CDM, made from the pseudonym of a record.

A key is the first 63 bits of a hash of the table and `Type/pseudonym` (and of the part of the
record, where one gives several rows). The pseudonym is a keyed hash of the FHIR logical id, so a
key is the same in every run, and nobody without the lake's key leads it back. No business
identifier goes in.

63 bits: among ten million rows of one table two share a key with a chance of 1 in 180,000. Where it
happens, the check `isPrimaryKey` of `ehr lake omop check` names the table.
"""

from __future__ import annotations

import hashlib

__all__ = ["integer_key", "person_key"]


def integer_key(table: str, record: str, part: str = "") -> int:
    """Return the key of the row of a table that a record, or a part of it, gives.

    >>> integer_key("person", "Patient/a") == integer_key("person", "Patient/a")
    True
    >>> integer_key("person", "Patient/a") == integer_key("person", "Patient/b")
    False
    """
    text = f"{table}\x00{record}\x00{part}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def person_key(pseudonym: str) -> int:
    """Return person_id of a patient's pseudonym."""
    return integer_key("person", f"Patient/{pseudonym}")
