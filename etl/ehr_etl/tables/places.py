"""Places: the bucket of each record, and the other buckets that a patient has records in.

A record is in the bucket of its first patient. Rows of another kind tell in which further buckets
records stand that are about a patient as well. Those of a third kind tell in which buckets records
name a record that is not there; one that is outdated lets a bucket be read for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import BUCKET
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import list_patients

__all__ = [
    "build_missing_place",
    "build_patient_places",
    "build_place_rows",
    "find_missing_name",
    "is_place_of_patient",
    "missing_place",
    "patient_place",
    "record_key",
    "record_keys",
]

Row = dict[str, Any]


def record_key(resource_type: str | None, resource_id: str | None) -> str:
    """Return the key of a record within the lake."""
    return f"{resource_type}/{resource_id}"


def record_keys(rows: pa.Table) -> Any:  # Any: pyarrow ships no types
    """Return the keys of the records of some rows of silver, as a column."""
    return pc.binary_join_element_wise(rows.column("type"), rows.column("id"), "/")


def build_place_rows(layout: Layout, row: Mapping[str, Any]) -> list[Row]:
    """Return the rows of `places` for a row of silver, which has its bucket."""
    key, place = record_key(row["type"], row["id"]), row[BUCKET]
    own = {BUCKET: layout.place(key), "key": key, "place": place}
    return [own, *build_patient_places(layout, list_patients(row), place)]


def build_patient_places(layout: Layout, patients: Iterable[str], place: int) -> list[Row]:
    """Return the rows for those patients of a record whose own bucket is another than its."""
    return [
        {
            BUCKET: patient_place(layout, patient),
            "key": f"{_patient_key(patient)}@{place}",
            "place": place,
        }
        for patient in patients
        if layout.place(f"Patient/{patient}") != place
    ]


def patient_place(layout: Layout, patient: str) -> int:
    """Return the bucket of the rows that tell in which other buckets a patient has records."""
    return layout.place(_patient_key(patient))


def is_place_of_patient(row: Mapping[str, Any], patients: Collection[str]) -> bool:
    """Say whether a row of `places` tells where one of some patients has records."""
    kind, _, patient = str(row["key"]).partition("@")[0].partition(":")
    return kind == "also" and patient in patients


def build_missing_place(layout: Layout, target: str, place: int) -> Row:
    """Return the row that tells that records of a bucket name a record that is not there."""
    key = f"{_missing_key(target)}@{place}"
    return {BUCKET: missing_place(layout, target), "key": key, "place": place}


def missing_place(layout: Layout, target: str) -> int:
    """Return the bucket of the rows that tell where a record is named that is not there."""
    return layout.place(_missing_key(target))


def find_missing_name(row: Mapping[str, Any]) -> str | None:
    """Return of which record that is not there a row tells where it is named; None for others.

    >>> find_missing_name({"key": "missing:Organization/a@7"})
    'Organization/a'
    >>> find_missing_name({"key": "Organization/a"}) is None
    True
    """
    kind, _, target = str(row["key"]).partition("@")[0].partition(":")
    return target if kind == "missing" else None


def _patient_key(patient: str) -> str:
    return f"also:{patient}"


def _missing_key(target: str) -> str:
    return f"missing:{target}"
