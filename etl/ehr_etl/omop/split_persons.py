"""Persons whose records are in several buckets of deid: after a merge, each account has its own.

Their rows of OMOP are in one bucket all the same, that of the Patient who stands for them. The
table `split_persons` has the buckets of each, so that a change in one of them finds the person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import BUCKET, GOLD_BUCKET, GOLD_KEY, Lake
from ehr_etl.omop.cdm import table_name
from ehr_etl.omop.identifiers import person_key
from ehr_etl.tables.bucketed import Layout, cut_buckets

__all__ = ["SplitPerson", "build_place_rows", "find_home", "find_split_persons", "read_places"]

_COLUMNS = [BUCKET, "type", "patient"]


@dataclass(frozen=True)
class SplitPerson:
    """In which buckets of deid a person has records, and which of them has the rows of OMOP."""

    home: int
    buckets: frozenset[int]


def find_home(records: Iterable[tuple[str, int]]) -> int:
    """Return the bucket of a person's rows, by type and bucket of each of their records.

    It is that of the Patient; without one, the first.

    >>> find_home([("Encounter", 2), ("Patient", 5)]), find_home([("Encounter", 5)])
    (5, 5)
    """
    return min((kind != "Patient", bucket) for kind, bucket in records)[1]


def build_place_rows(pseudonym: str, person: SplitPerson) -> list[dict[str, Any]]:
    """Return the rows of `split_persons` of a person; none of one with a single bucket."""
    if len(person.buckets) == 1:
        return []
    key = str(person_key(pseudonym))
    return [
        {GOLD_BUCKET: person.home, GOLD_KEY: key, "place": place}
        for place in sorted(person.buckets)
    ]


def read_places(lake: Lake) -> dict[str, set[int]]:
    """Return by key the persons of `split_persons`, and the buckets of each."""
    places: defaultdict[str, set[int]] = defaultdict(set)
    table = lake.open_table(table_name("split_persons")).to_pyarrow_dataset()
    for row in table.to_table(columns=[GOLD_KEY, "place"]).to_pylist():
        places[row[GOLD_KEY]].add(row["place"])
    return places


def find_split_persons(lake: Lake, layout: Layout) -> Mapping[str, SplitPerson]:
    """Return by pseudonym the persons of deid with records in several buckets.

    Read are three narrow columns. Memory follows the persons with records apart from their Patient.
    """
    places: defaultdict[str, set[int]] = defaultdict(set)
    dataset = lake.open_table("deid").to_pyarrow_dataset()
    for chosen in cut_buckets(range(layout.buckets)):
        condition = pc.field(BUCKET).isin(pa.array(chosen, pa.int32()))
        table = dataset.to_table(
            columns=_COLUMNS, filter=condition & pc.field("patient").is_valid()
        )
        is_patient = pc.equal(table.column("type"), "Patient")
        by_person = (
            table.append_column("is_patient", is_patient)
            .group_by([BUCKET, "patient"])
            .aggregate([("is_patient", "any")])
        )
        for row in by_person.filter(pc.invert(by_person.column("is_patient_any"))).to_pylist():
            places[row["patient"]].add(row[BUCKET])
    for name, home in (homes := _find_patients(dataset, places)).items():
        places[name].add(home)
    return {
        name: SplitPerson(homes.get(name, min(buckets)), frozenset(buckets))
        for name, buckets in places.items()
        if len(buckets) > 1
    }


def _find_patients(dataset: Any, pseudonyms: Collection[str]) -> dict[str, int]:
    """Return the buckets of the Patients of some persons."""
    if not pseudonyms:
        return {}
    condition = (pc.field("type") == "Patient") & pc.field("patient").isin(
        pa.array(sorted(pseudonyms), pa.string())
    )
    rows = dataset.to_table(columns=[BUCKET, "patient"], filter=condition).to_pylist()
    return {row["patient"]: row[BUCKET] for row in rows}
