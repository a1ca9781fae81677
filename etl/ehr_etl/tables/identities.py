"""Identities: which patients bear the same identifier, or the same name, birth date and sex.

An index by keyed hashes, so that a patient who changes is compared with those alone who share
something, and no name or number stands in it.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson

from ehr_etl.lake import BUCKET
from ehr_etl.tables.bucketed import Layout
from ehr_fhir.references import local_target

__all__ = ["build_identity_rows", "find_duplicate_people", "hash_key", "is_hash_key", "patient_key"]

Row = dict[str, Any]


def patient_key(patient: str) -> str:
    """Return by what the row with a patient's hashes is found."""
    return f"patient:{patient}"


def hash_key(text: str) -> str:
    """Return by what the rows of those who share a hash are found."""
    return f"of:{text}"


def is_hash_key(key: str) -> bool:
    """Say whether a key is that of a hash."""
    return key.startswith("of:")


def build_identity_rows(layout: Layout, row: Mapping[str, Any]) -> list[Row]:
    """Return the rows of `identities` for a row of silver of a Patient; none of a deleted one."""
    if row["deleted"] or not row["resource"]:
        return []
    patient = orjson.loads(row["resource"])
    hashes = sorted({_hash(layout, text) for text in _identity_texts(patient)})
    linked = sorted(
        target.id
        for link in patient.get("link", ())
        if (target := local_target(str(link.get("other", {}).get("reference", "")))) is not None
    )
    own = patient_key(row["id"])
    return [
        _row(layout, own, row["id"], hashes),
        *(_row(layout, hash_key(text), row["id"], linked) for text in hashes),
    ]


def find_duplicate_people(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return patient -> the first of those who share a hash and are not linked, in rows by hash.

    >>> rows = [{"key": "of:1", "patient": "p1", "others": []},
    ...     {"key": "of:1", "patient": "p2", "others": []},
    ...     {"key": "of:1", "patient": "p3", "others": ["p1", "p2"]}]
    >>> find_duplicate_people(rows)
    {'p2': 'p1'}
    """
    by_hash: defaultdict[str, dict[str, Collection[str]]] = defaultdict(dict)
    for row in rows:
        if is_hash_key(row["key"]):
            by_hash[row["key"]][row["patient"]] = row["others"]
    found: dict[str, str] = {}
    for sharing in by_hash.values():
        names = sorted(sharing)
        for number, name in enumerate(names):
            for other in names[:number]:
                is_linked = other in sharing[name] or name in sharing[other]
                if not is_linked and (name not in found or other < found[name]):
                    found[name] = other
    return found


def _identity_texts(patient: Mapping[str, Any]) -> Iterable[str]:
    for identifier in patient.get("identifier", ()):
        system, value = identifier.get("system"), identifier.get("value")
        if system and value:
            yield f"identifier {system} {_plain(str(value))}"
    birth, sex = patient.get("birthDate"), patient.get("gender")
    # A year alone is that of thousands.
    if birth and sex and len(birth) == 10:
        for name in patient.get("name", ()):
            parts = [*name.get("given", ()), name.get("family", "")]
            text = _plain(name.get("text") or " ".join(parts))
            if text:
                yield f"person {''.join(sorted(text))} {birth} {sex}"


def _plain(text: str) -> str:
    """Return the letters and digits of a text without case and marks."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def _hash(layout: Layout, text: str) -> str:
    key = hmac.new(layout.secret, b"identity " + text.encode(), hashlib.sha256)
    return key.hexdigest()[:32]


def _row(layout: Layout, key: str, patient: str, others: list[str]) -> Row:
    return {BUCKET: layout.place(key), "key": key, "patient": patient, "others": others}
