"""Whose rows are withheld: the decision about them changed, and the lake has not followed yet.

The lake follows in seconds, or by night, as it is run. Somebody who opts out in between must not be
read by the next query. So a query asks the gateway whose decision changed after the last one that
the lake has applied, and leaves out all of theirs, whatever the change was. Rows of a merged
account (`Patient.link`) are under the pseudonym of the one that took its place, so all accounts of
a person are left out together. Whoever reads tables finds who is withheld first, and opens the
tables then: the lake may follow in between, and an older version of a table has the person still.

Counts leave out whole people, by `find_withheld_people`: OMOP's rows do not say of which record
each is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import QueryBuilder

from ehr_analytics.query_job import Withheld
from ehr_etl.change_feed.epoch import load_epoch
from ehr_etl.lake import Lake
from ehr_etl.progress import load_progress
from ehr_etl.tables.bronze import stored_cursor
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.deid import deid_key_text
from ehr_etl.tables.people import read_people
from ehr_fhir.errors import Unavailable

__all__ = [
    "ChangedSubjects",
    "DecisionBasis",
    "find_withheld",
    "find_withheld_people",
    "list_changed_since",
    "read_basis",
]

# Type and id of whatever's decision changed after a number of an epoch of the gateway's feed.
ChangedSubjects = Callable[[int, str], Iterable[tuple[str, str]]]

_REFERENCED_PATIENT = re.compile("Patient/([0-9a-f]{32})")


@dataclass(frozen=True)
class DecisionBasis:
    """The decisions by which rows are made: up to a number of an epoch of the gateway's feed.

    `due` says when the decision about a patient changes by itself: milliseconds, pseudonym.
    """

    epoch: str
    number: int
    due: tuple[tuple[int, str], ...] = ()


def read_basis(data: Path, until_ms: int) -> DecisionBasis:
    """Return the decisions by which the lake's tables are made, and what is due until a time."""
    lake = _open_lake(data)
    epoch = _read_epoch(lake)
    key = _read_deid_key(data)
    listed = _list_due(lake, until_ms)
    accounts = _find_accounts(lake, key, {patient for _, patient in listed})
    due = tuple(
        (when, deid_key_text(key, "Patient", account))
        for when, patient in listed
        for account in sorted(accounts[patient])
    )
    return DecisionBasis(epoch, _read_last_applied(lake), due)


def list_changed_since(data: Path, changed: ChangedSubjects, basis: DecisionBasis) -> set[str]:
    """Return the pseudonyms of patients and records whose decision changed after a basis."""
    key = _read_deid_key(data)
    now_ms = int(time.time() * 1000)
    told = _add_accounts(_open_lake(data), key, changed(basis.number, basis.epoch))
    subjects = {deid_key_text(key, *each) for each in told}
    return subjects | {subject for when, subject in basis.due if when <= now_ms}


def find_withheld(data: Path, changed: ChangedSubjects) -> Withheld:
    """Return whose rows are withheld from a query that begins now."""
    lake = _open_lake(data)
    epoch = _read_epoch(lake)
    due = _list_due(lake, int(time.time() * 1000))
    subjects = {
        *changed(_read_last_applied(lake), epoch),
        *(("Patient", patient) for _, patient in due),
    }
    if not subjects:
        return Withheld()
    key = _read_deid_key(data)
    subjects = _add_accounts(lake, key, subjects)
    patients = sorted(
        deid_key_text(key, *subject) for subject in subjects if subject[0] == "Patient"
    )
    return Withheld(tuple(patients), tuple(sorted(deid_key_text(key, *each) for each in subjects)))


def find_withheld_people(data: Path, changed: ChangedSubjects) -> frozenset[str]:
    """Return the pseudonyms of the people whom a count that begins now leaves out.

    Those of patients who are withheld, of patients of whom a record is, and of patients whom a
    record names beside one who is.
    """
    withheld = find_withheld(data, changed)
    lake = _open_lake(data)
    if not withheld or not lake.has_table("deid"):
        return frozenset(withheld.patients)
    people, records = set(withheld.patients), set(withheld.records)
    ids = ", ".join(f"'{record}'" for record in sorted(records))
    sql = f"SELECT id, patient, resource FROM t WHERE patient IS NULL OR id IN ({ids})"  # noqa: S608
    for row in _query(lake, "deid", sql):
        named = _REFERENCED_PATIENT.findall(row["resource"])
        if row["patient"] is not None:
            people.add(row["patient"])
        elif row["id"] in records or not people.isdisjoint(named):
            people.update(named)
    return frozenset(people)


def _add_accounts(
    lake: Lake, key: bytes, subjects: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return type and id of some subjects, and of every other account of their patients."""
    told = set(subjects)
    accounts = _find_accounts(lake, key, {name for kind, name in told if kind == "Patient"})
    return told | {("Patient", account) for listed in accounts.values() for account in listed}


def _find_accounts(lake: Lake, key: bytes, patients: Collection[str]) -> dict[str, frozenset[str]]:
    """Return patient -> all accounts of the same person, as the lake's tables are made."""
    buckets = load_progress(lake).buckets
    if not patients or not buckets:
        # Without buckets nothing was applied yet, so the lake knows of no merge.
        return {patient: frozenset({patient}) for patient in patients}
    people = read_people(lake, Layout(buckets, key), patients)
    return {
        patient: frozenset(
            {patient, people.people.find(patient).account, *people.linked.get(patient, ())}
        )
        for patient in patients
    }


def _open_lake(data: Path) -> Lake:
    lake = Lake(data / "lake")
    if not lake.has_table("bronze"):
        raise Unavailable("The lake has read no decision of a patient yet: run `ehr lake run`.")
    return lake


def _read_deid_key(data: Path) -> bytes:
    return (data / "keys" / "deid.key").read_bytes()


def _read_epoch(lake: Lake) -> str:
    """Return the epoch of the gateway's feed that the lake follows; empty before the first run."""
    epoch = load_epoch(lake)
    return epoch.epoch if epoch else ""


def _read_last_applied(lake: Lake) -> int:
    """Return the number of the last decision by which the lake's tables are made."""
    cursor, applied = stored_cursor(lake), load_progress(lake).sequence
    if cursor.sequence <= applied:
        return cursor.decision
    sql = f"SELECT min(decision) AS number FROM t WHERE sequence > {applied}"  # noqa: S608 - a number
    first = _query(lake, "bronze", sql)[0]["number"]
    return cursor.decision if first is None else int(first) - 1


def _list_due(lake: Lake, until_ms: int) -> list[tuple[int, str]]:
    """Return when a term begins or ends, and of which patient, of those until a time."""
    if not lake.has_table("decisions"):
        return []
    sql = f"SELECT patient, changes_ms FROM t WHERE changes_ms <= {until_ms}"  # noqa: S608 - a number
    return [(row["changes_ms"], row["patient"]) for row in _query(lake, "decisions", sql)]


def _query(lake: Lake, table: str, sql: str) -> list[dict[str, Any]]:
    # By delta-rs's own reader: pyarrow's data sets import pandas, half a second of every query.
    reader: Any = QueryBuilder().register("t", lake.open_table(table)).execute(sql)
    return [dict(row) for batch in reader for row in _to_rows(batch)]


def _to_rows(batch: Any) -> list[dict[str, Any]]:  # Any: delta-rs gives Arrow of its own
    import pyarrow as pa

    return list(pa.record_batch(batch).to_pylist())
