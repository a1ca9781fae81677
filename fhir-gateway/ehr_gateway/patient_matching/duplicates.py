"""Find Patients that may be one person's, for the steward's worklist.

Each Patient that is new or has changed is compared with those that searches by its own elements
find (`candidates`); the cost follows the change, not the store. A pair is a row of
`duplicate_candidate`: ids, a probability, and how the elements agree, no value.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.patient_matching.candidates import build_searches
from ehr_gateway.patient_matching.comparison import compare_identities
from ehr_gateway.patient_matching.identity import read_identity
from ehr_gateway.patient_matching.score import GRADES, score_agreement
from ehr_gateway.search.page import search_on
from ehr_gateway.store.merging import is_replaced
from ehr_gateway.store.store import Store, Version
from ehr_privacy.consent import Predicate, Requester, load_roles, parse_scopes

__all__ = ["find_new_duplicates", "find_similar_patients"]

_LOG = logging.getLogger(__name__)
Json = Mapping[str, Any]
# Patients that one criterion may bring to be compared. Chosen: a birth date is shared by some 250
# of eight million people.
MOST_CANDIDATES = 500
# The least probability of a pair that is listed: what `$match` calls possible.
_CUT = GRADES["possible"]
# Patients compared between two commits. Chosen: some tenths of a second.
_BATCH = 20
# How long one call goes on. Chosen: a store that was just loaded is gone through while it serves.
_SECONDS = 2.0
_POSITION_SETTING = "duplicates-position"
_ANY = Predicate("TRUE", {})


@dataclass(frozen=True)
class SimilarPatient:
    """A Patient that may be the person of a description: how the elements agree, and how surely."""

    version: Version
    patient: Json
    levels: Mapping[str, str]
    score: float


class _PlatformAccess(Access):
    """The platform's own: it compares all Patients, and what it finds is for stewards alone."""

    @property
    def read_predicate(self) -> Predicate:
        return _ANY

    @property
    def search_predicate(self) -> Predicate:
        return _ANY


def find_similar_patients(
    connection: Connection, store: Store, access: Access, description: Json
) -> Iterator[SimilarPatient]:
    """Yield who may be the person of a description, out of those that the access may find."""
    identity, found = read_identity(description), dict[str, Version]()
    for criteria in build_searches(identity):
        pairs = [*criteria, ("_count", str(MOST_CANDIDATES)), ("_total", "none")]
        page = search_on(connection, store, access, "Patient", pairs)
        found |= {version.id: version for version in page.matches}
    for version in found.values():
        patient = parse(version.body)
        levels = compare_identities(identity, read_identity(patient))
        score = score_agreement(levels)
        if score >= _CUT:
            yield SimilarPatient(version, patient, levels, score)


def find_new_duplicates(
    store: Store, clock: Callable[[], int], *, seconds: float = _SECONDS
) -> int:
    """Compare the Patients that are new or have changed; return how many were compared.

    It goes on where it stopped, whichever process it was, and stops after some seconds.
    """
    compared, end = 0, time.monotonic() + seconds
    while number := _compare_batch(store, clock()):
        compared += number
        if time.monotonic() > end:
            break
    return compared


def _compare_batch(store: Store, now_ms: int) -> int:
    platform = load_roles().platform
    requester = Requester(
        role="system",
        person="duplicates",
        organization=platform,
        scopes=parse_scopes("system/Patient.rs"),
    )
    access = _PlatformAccess(requester, now_ms, "duplicates")
    with store.read_transaction() as connection:
        after = _read_position(connection)
        rows = connection.execute(
            "SELECT id, version, deleted, body, position FROM resource WHERE type = 'Patient'"
            # The condition that chooses the index of a type's history.
            " AND version > 0 AND position > ? AND current = 1 ORDER BY position LIMIT ?",
            (after, _BATCH),
        ).fetchall()
        if not rows:
            return 0
        pairs: dict[tuple[str, str], SimilarPatient] = {}
        versions: dict[str, int] = {}
        for row in rows:
            versions[row["id"]] = int(row["version"])
            patient = parse(row["body"]) if not row["deleted"] else {}
            if not patient or is_replaced(patient):
                continue
            for other in _find_others(connection, store, access, patient):
                if other.version.id != row["id"] and not is_replaced(other.patient):
                    pairs[_order(row["id"], other.version.id)] = other
                    versions[other.version.id] = other.version.version
    with store.write_transaction() as connection:
        # Another process was quicker, or the store was restored.
        if _read_position(connection) != after:
            return 0
        _store_pairs(connection, [row["id"] for row in rows], pairs, versions, now_ms)
        connection.execute(
            "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value",
            (_POSITION_SETTING, str(rows[-1]["position"]).encode()),
        )
    return len(rows)


def _find_others(
    connection: Connection, store: Store, access: Access, patient: Json
) -> Sequence[SimilarPatient]:
    """Return who may be a stored Patient; nobody where that cannot be asked for.

    One Patient that cannot be compared does not hold up all that come after it.
    """
    try:
        return list(find_similar_patients(connection, store, access, patient))
    except Invalid:
        # Without the error's text, which may hold a value.
        _LOG.error("A Patient was not compared with others: no search can ask for it.")
        return ()


def _store_pairs(
    connection: Connection,
    compared: list[str],
    pairs: Mapping[tuple[str, str], SimilarPatient],
    versions: Mapping[str, int],
    now_ms: int,
) -> None:
    """Store the pairs of some Patients, and drop those that are none any more.

    Of a Patient that was changed or erased since it was read nothing is stored: who was changed is
    compared again.
    """
    for patient in compared:
        rows = connection.execute(
            "SELECT first, second FROM duplicate_candidate WHERE first = ? OR second = ?",
            (patient, patient),
        ).fetchall()
        for row in rows:
            if (row["first"], row["second"]) not in pairs:
                connection.execute(
                    "DELETE FROM duplicate_candidate WHERE first = ? AND second = ?",
                    (row["first"], row["second"]),
                )
    for (first, second), similar in sorted(pairs.items()):
        if any(_read_version(connection, one) != versions[one] for one in (first, second)):
            continue
        # What was decided stands as long as the elements agree in the same way.
        connection.execute(
            "INSERT INTO duplicate_candidate (first, second, score, levels, found_ms, state)"
            " VALUES (?, ?, ?, ?, ?, 'open') ON CONFLICT (first, second) DO UPDATE SET"
            " score = excluded.score, found_ms = excluded.found_ms, state = CASE WHEN"
            " duplicate_candidate.levels = excluded.levels THEN duplicate_candidate.state"
            " ELSE 'open' END, levels = excluded.levels",
            (
                first,
                second,
                int(similar.score * 1_000_000),
                json.dumps(similar.levels, sort_keys=True),
                now_ms,
            ),
        )


def _order(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _read_position(connection: Connection) -> int:
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (_POSITION_SETTING,)
    ).fetchone()
    return int(bytes(row["value"])) if row is not None else 0


def _read_version(connection: Connection, patient: str) -> int:
    row = connection.execute(
        "SELECT version FROM resource WHERE type = 'Patient' AND id = ? AND current = 1"
        " AND deleted = 0",
        (patient,),
    ).fetchone()
    return int(row["version"]) if row is not None else 0
