"""Places: the bucket of each record, and the other buckets that a patient has records in.

A record is in the bucket of its first patient. Rows of another kind tell in which further buckets
records stand that are about a patient as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ehr_etl.lake import BUCKET
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import list_patients

__all__ = [
    "build_patient_places",
    "build_place_rows",
    "is_place_of_patient",
    "patient_place",
    "record_key",
]

Row = dict[str, Any]


def record_key(resource_type: str | None, resource_id: str | None) -> str:
    """Return the key of a record within the lake."""
    return f"{resource_type}/{resource_id}"


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


def _patient_key(patient: str) -> str:
    return f"also:{patient}"
