"""Faults of the rows of silver: of a version that holds nothing back, and beside other records.

All records of a patient are in one bucket, so the faults of a bucket are one function of its rows,
of what stewards decided and of who else bears the identity of its patients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson

from ehr_etl.data_quality.faults import Fault
from ehr_etl.data_quality.linked_rules import LinkedRecord, find_linked_faults
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.lake import BUCKET, TABLES
from ehr_etl.tables.decisions import list_patients
from ehr_etl.tables.places import record_key
from ehr_etl.tables.silver import list_elements

__all__ = ["DUPLICATE_PERSON", "REJECTED", "build_finding_row", "find_row_faults", "first_patient"]

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
    fresh: Collection[str] | None = None,
) -> dict[str, list[Fault]]:
    """Return key -> faults of the rows of a bucket, for those of some patients (or of all).

    A row that is not `fresh` and has no faults breaks no rule by itself: that is not looked at
    again. `decided` is what stewards said of a version of a record; `people` who else a patient may
    be. Of every row that was looked at there is an entry.
    """
    by_patient: defaultdict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_patient[first_patient(row)].append(row)
    found: dict[str, list[Fault]] = {}
    for patient, listed in by_patient.items():
        if patients is None or patient in patients:
            found |= _faults_of_patient(patient, listed, rules, decided, people, fresh)
    return found


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
) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    records = []
    for row in rows:
        key = record_key(row["type"], row["id"])
        resource = None if row["deleted"] or not row["resource"] else orjson.loads(row["resource"])
        records.append(LinkedRecord(key, resource))
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
    linked = {} if patient is None else find_linked_faults(patient, records, rules)
    for row in rows:
        key = record_key(row["type"], row["id"])
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
