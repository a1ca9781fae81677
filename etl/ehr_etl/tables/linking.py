"""Faults of the rows of silver: of a version that holds nothing back, and beside other records.

All records of a patient are in one bucket, so the faults of a bucket are one function of its rows,
of what stewards decided and of who else bears the identity of its patients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from ehr_etl.data_quality.faults import Fault, Resource
from ehr_etl.data_quality.linked_rules import LinkedRecord, find_linked_faults
from ehr_etl.data_quality.neighbours import PersonTexts, find_keys_to_check, find_neighbours
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.data_quality.shared_references import find_missing_fault
from ehr_etl.lake import BUCKET, TABLES
from ehr_etl.tables.decisions import list_patients
from ehr_etl.tables.places import record_key
from ehr_etl.tables.silver import list_elements

__all__ = [
    "DUPLICATE_PERSON",
    "REJECTED",
    "build_finding_row",
    "find_row_faults",
    "first_patient",
    "parse_row",
]

Row = dict[str, Any]
# A steward said of a version that it is not to be used.
REJECTED = "rejected-by-steward"
DUPLICATE_PERSON = "no-duplicate-person"


def first_patient(row: Mapping[str, Any]) -> str | None:
    """Return the patient in whose bucket a row of silver is."""
    return min(list_patients(row), default=None)


def find_row_faults(
    rows: Iterable[Mapping[str, Any]],
    rules: QualityRules,
    *,
    decided: Mapping[tuple[str, int], str],
    people: Mapping[str, str],
    patients: Collection[str | None] | None = None,
    changed: Mapping[str | None, Sequence[LinkedRecord]] | None = None,
    fresh: Collection[str] | None = None,
    missing: Collection[str] = frozenset(),
    recheck: Collection[str] = frozenset(),
) -> dict[str, list[Fault]]:
    """Return key -> faults of the rows of a bucket, for those of some patients (or of all).

    A row that is not `fresh` and has no faults breaks no rule by itself: that is not looked at
    again. `decided` is what stewards said of a version of a record; `people` who else a patient may
    be. `changed` are the records of a patient that changed, as they were and as they are: then only
    they, their neighbours and the records `recheck` are looked at. `missing` are records that rows
    name and that are not there. Of every row that was looked at there is an entry.
    """
    by_patient: defaultdict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_patient[first_patient(row)].append(row)
    faults: dict[str, list[Fault]] = {}
    for patient, listed in by_patient.items():
        if patients is None or patient in patients:
            only: Collection[str] | None = None
            needed: Sequence[Mapping[str, Any]] = listed
            if changed is not None:
                records = changed.get(patient, ())
                only, needed = _select_rows(patient, listed, rules, records, recheck)
            faults |= _faults_of_patient(
                patient, needed, rules, decided, people, fresh, only, missing
            )
    return faults


def _select_rows(
    patient: str | None,
    rows: Sequence[Mapping[str, Any]],
    rules: QualityRules,
    changed: Sequence[LinkedRecord],
    recheck: Collection[str],
) -> tuple[Collection[str] | None, Sequence[Mapping[str, Any]]]:
    """Return the keys of the rows to look at (None: all), and the rows that this needs."""
    by_key = {record_key(row["type"], row["id"]): row for row in rows}
    if patient is None:
        only = {*recheck, *(record.key for record in changed)} & by_key.keys()
        return only, [by_key[key] for key in sorted(only)]
    texts = {key: None if row["deleted"] else row["resource"] for key, row in by_key.items()}
    person = PersonTexts(texts)
    keys = find_keys_to_check(patient, person, changed, rules)
    if keys is None:
        return None, rows
    keys |= by_key.keys() & recheck
    records = [LinkedRecord(key, parse_row(by_key[key])) for key in sorted(keys)]
    needed = find_neighbours(patient, person, records, rules)
    return keys, [row for key, row in by_key.items() if key in needed]


def parse_row(row: Mapping[str, Any]) -> Resource | None:
    """Return the content of a row of silver; None of a deleted record."""
    return None if row["deleted"] or not row["resource"] else orjson.loads(row["resource"])


def build_finding_row(row: Mapping[str, Any], faults: Collection[Fault]) -> Row:
    """Return the row of `findings` for a row of silver with faults."""
    kept = {item.name: row[item.name] for item in TABLES["findings"].schema if item.name in row}
    return {
        **kept,
        BUCKET: row[BUCKET],
        "key": record_key(row["type"], row["id"]),
        "reasons": [fault.rule for fault in faults],
        "elements": list_elements(faults),
    }


def _faults_of_patient(
    patient: str | None,
    rows: Iterable[Mapping[str, Any]],
    rules: QualityRules,
    decided: Mapping[tuple[str, int], str],
    people: Mapping[str, str],
    fresh: Collection[str] | None,
    only: Collection[str] | None,
    missing: Collection[str],
) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    records = []
    for row in rows:
        key = record_key(row["type"], row["id"])
        resource = parse_row(row)
        records.append(LinkedRecord(key, resource))
        if only is not None and key not in only:
            continue
        decision = decided.get((key, row["version"]))
        found[key] = []
        is_fresh = fresh is None or key in fresh or bool(row["faults"])
        if resource is not None and decision != "release" and is_fresh:
            found[key] = [
                fault
                for fault in rules.check_version(resource, row["last_updated"])
                if not rules.is_error(fault.rule)
            ]
            if decision == "reject":
                found[key].append(Fault(REJECTED))
        if decision != "release":
            fault = find_missing_fault(resource, rules, missing)
            found[key] += [] if fault is None else [fault]
    linked = {} if patient is None else find_linked_faults(patient, records, rules, only)
    for row in rows:
        key = record_key(row["type"], row["id"])
        if key not in found:
            continue
        if decided.get((key, row["version"])) == "release":
            continue
        found[key] += linked.get(key, ())
        other = people.get(row["id"]) if row["type"] == "Patient" else None
        if other is not None and not row["deleted"]:
            found[key].append(
                Fault(DUPLICATE_PERSON, ("identifier", "name", "birthDate", f"Patient/{other}#id"))
            )
    # What is counted only stands in no list.
    return {
        key: [fault for fault in faults if rules.severity_of(fault.rule) != "information"]
        for key, faults in found.items()
    }
