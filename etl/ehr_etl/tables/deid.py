"""Deid: the records that research may use, scrubbed by the allow-list of `ehr_privacy`.

Whether a record is there, and how, is one function of its row of silver and of its patients'
decisions. It is called for the records that changed, and by a rebuild for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version as package_version
from importlib.resources import files
from typing import Any

import orjson

from ehr_etl.tables.decisions import ClosedRecords, PatientDecision, decide_record
from ehr_etl.tables.people import NO_PEOPLE, KnownPeople
from ehr_privacy.deid import Deidentifier, find_episode, load_rules, pseudonym

__all__ = ["RecordScrubber", "deid_digest", "deid_key_text"]


class RecordScrubber:
    """Makes rows of deid under one key, at one instant; `closed` counts what is left out."""

    def __init__(self, key: bytes, now_ms: int, closed: ClosedRecords) -> None:
        self._key, self._now_ms, self._closed = key, now_ms, closed
        self._deidentifier = _find_deidentifier(key)

    def scrub(
        self,
        row: Mapping[str, Any],
        decisions: Mapping[str, PatientDecision],
        known: KnownPeople = NO_PEOPLE,
    ) -> dict[str, Any] | None:
        """Return the row of deid for a row of silver; None if research may not use the record."""
        record = decide_record(row, decisions, self._now_ms, self._closed)
        if record is None:
            return None
        resource = self._deidentifier.scrub(orjson.loads(row["resource"]), known.people)
        if resource is None:
            return None
        # A record of several patients belongs to no single row of a study.
        accounts = {known.people.find(patient).account for patient in record.patients}
        patient = min(accounts) if len(accounts) == 1 else None
        return {
            "bucket": row["bucket"],
            "type": row["type"],
            # Not the id in the resource: a record that stands apart has another there.
            "id": deid_key_text(self._key, row["type"], row["id"]),
            "patient": None if patient is None else pseudonym(self._key, f"Patient/{patient}"),
            "episode": find_episode(resource).partition("/")[2],
            "resource": orjson.dumps(resource).decode(),
        }


# Made once in a process: it compiles the rules (0.1 s of processor time) and remembers pseudonyms.
@lru_cache(2)
def _find_deidentifier(key: bytes) -> Deidentifier:
    return Deidentifier(load_rules(), key)


def deid_key_text(key: bytes, resource_type: str, resource_id: str) -> str:
    """Return by what a record's row of deid, and its rows of gold, are found."""
    return pseudonym(key, f"{resource_type}/{resource_id}")


@lru_cache(8)
def deid_digest(key: bytes) -> str:
    """Return a digest of all that decides how deid looks, beside its input."""
    digest = hashlib.sha256(package_version("ehr-commons").encode())
    for folder in ("deid", "rules", "consent"):
        entries = (files("ehr_privacy") / folder).iterdir()
        for file in sorted(entries, key=lambda file: file.name):
            if file.is_file():
                digest.update(file.read_bytes())
    # Not the key itself: the digest is kept beside the table.
    digest.update(pseudonym(key, "deid-digest").encode())
    return digest.hexdigest()[:32]
