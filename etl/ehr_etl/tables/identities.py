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
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_etl.lake import BUCKET, Lake
from ehr_etl.tables.bucketed import Buckets, Layout, read_rows
from ehr_fhir.references import local_target

__all__ = [
    "IdentityIndex",
    "build_identity_rows",
    "find_duplicate_people",
]

Row = dict[str, Any]


def _patient_key(patient: str) -> str:
    """Return by what the row with a patient's hashes is found."""
    return f"patient:{patient}"


def _hash_key(text: str) -> str:
    """Return by what the rows of those who share a hash are found."""
    return f"of:{text}"


def _is_hash_key(key: str) -> bool:
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
    own = _patient_key(row["id"])
    return [
        _row(layout, own, row["id"], hashes),
        *(_row(layout, _hash_key(text), row["id"], linked) for text in hashes),
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
        if _is_hash_key(row["key"]):
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


@dataclass(frozen=True)
class IdentityIndex:
    """The table `identities`, asked about Patients of whom some get new rows (`replaced`)."""

    lake: Lake
    layout: Layout

    def find_sharing_people(self, replaced: Mapping[str, list[Row]]) -> set[str]:
        """Return the Patients that change, and those who share a hash with them or did so."""
        hashes = self._read_hashes(replaced) | _hash_keys(replaced)
        return {row["patient"] for row in self._read_rows(hashes)} | replaced.keys()

    def find_duplicates_of(
        self, patients: Collection[str], replaced: Mapping[str, list[Row]]
    ) -> dict[str, str | None]:
        """Return patient -> who else they may be; None for nobody."""
        if not patients:
            return {}
        unchanged = set(patients) - replaced.keys()
        new = [row for rows in replaced.values() for row in rows]
        hashes = self._read_hashes(unchanged) | _hash_keys(replaced)
        rows = [row for row in self._read_rows(hashes) if row["patient"] not in replaced]
        others = find_duplicate_people([*rows, *new])
        return {patient: others.get(patient) for patient in patients}

    def build_replacement(self, replaced: Mapping[str, list[Row]]) -> tuple[Buckets, list[Row]]:
        """Return the keys to take out, by bucket, and the rows to put in, others' among them."""
        keys = {*self._read_hashes(replaced), *map(_patient_key, replaced), *_hash_keys(replaced)}
        kept = [row for row in self._read_rows(keys) if row["patient"] not in replaced]
        removed: defaultdict[int, set[str]] = defaultdict(set)
        for key in keys:
            removed[self.layout.place(key)].add(key)
        new = [row for rows in replaced.values() for row in rows]
        return removed, [*kept, *new]

    def _read_hashes(self, patients: Collection[str]) -> set[str]:
        own = {_patient_key(patient) for patient in patients}
        return {_hash_key(text) for row in self._read_rows(own) for text in row["others"]}

    def _read_rows(self, keys: Collection[str]) -> list[Row]:
        buckets = {self.layout.place(key) for key in keys}
        return list(
            read_rows(self.lake, "identities", buckets, keys, lambda table: table.column("key"))
        )


def _hash_keys(replaced: Mapping[str, list[Row]]) -> set[str]:
    return {row["key"] for rows in replaced.values() for row in rows if _is_hash_key(row["key"])}


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
