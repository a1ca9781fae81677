"""Writes the OMOP tables: persons whose records changed, or all of them, bucket by bucket.

A person's rows are in the bucket of their records. A batch finds the persons it concerns by their
records, as deid has them now and as `source_records` had them, and makes all rows of these persons
anew. What is as it was is not written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from ehr_etl.lake import BUCKET, GOLD_BUCKET, GOLD_KEY, Lake
from ehr_etl.omop.cdm import (
    CDM_VERSION,
    ETL_TABLES,
    PERSON_TABLES,
    VOCABULARY_TABLES,
    build_table,
    concatenate_lists,
    load_cdm,
    table_name,
    table_schema,
)
from ehr_etl.omop.identifiers import integer_key, person_key
from ehr_etl.omop.person import PersonBuilder, SourceRecord
from ehr_etl.omop.shared_records import (
    IS_SHARED_RECORD,
    SHARED_TYPES,
    build_shared_rows,
    list_shared_targets,
    shared_value,
)
from ehr_etl.omop.state import OmopState, open_vocabulary, record_run
from ehr_etl.tables.bucketed import (
    Buckets,
    Layout,
    create_table,
    delete_keys_and_add,
    iterate_buckets,
    replace_buckets,
)
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = [
    "WRITTEN_BY_PERSON",
    "WRITTEN_BY_RECORD",
    "OmopWriter",
    "Row",
    "create_omop_tables",
    "list_omop_tables",
]

Row = dict[str, Any]

# Tables with rows of persons, in the order of writing: by `source_records` a batch that is done
# again finds whose rows a record gave, so it comes last.
WRITTEN_BY_PERSON = (*PERSON_TABLES, "unmapped_codes", "shared_references", "source_records")
# By `shared_records` a batch knows what changed for persons, so it comes after them.
WRITTEN_BY_RECORD = ("care_site", "provider", "unmapped_codes", "shared_records")
# Buckets that are made anew at once: some dozens of MB of rows. Chosen.
_BUCKETS_AT_ONCE = 64


def list_omop_tables() -> tuple[str, ...]:
    """Return the names in the lake of all tables of the CDM, and of those beside it."""
    return tuple(table_name(name) for name in (*load_cdm(), *ETL_TABLES))


def create_omop_tables(lake: Lake) -> None:
    """Create the tables that are not there yet, empty."""
    for name in (*load_cdm(), *ETL_TABLES):
        path = table_name(name)
        if not lake.has_table(path):
            column = None if name in VOCABULARY_TABLES else GOLD_BUCKET
            create_table(lake, path, table_schema(name), column)


@dataclass
class OmopWriter:
    """Keeps the OMOP tables of a lake."""

    lake: Lake
    layout: Layout
    state: OmopState
    now_ms: int
    # Tables that were written.
    written: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.vocabulary = open_vocabulary(self.lake, self.state)
        self._builder = PersonBuilder(self.vocabulary, JURISDICTION.zone)

    # One batch.

    def apply(self, removed: Mapping[str, Buckets], records: pa.Table) -> None:
        """Follow a batch: `removed` has by type and bucket the pseudonyms of records that changed.

        `records` are their rows of deid as they are now.
        """
        shared = _read_shared_records(records)
        # Those that changed or are gone.
        names = {
            f"{kind}/{name}"
            for kind in SHARED_TYPES
            for keys in removed.get(kind, {}).values()
            for name in keys
        }
        changed = self._changed_shared_records(names, shared)
        persons = self._find_persons(removed, records)
        for bucket, keys in self._persons_of(changed.keys()).items():
            persons[bucket] |= keys
        rows_by_table = self._build_persons(persons, changed)
        for name in WRITTEN_BY_PERSON:
            self._replace_keys(name, persons, rows_by_table.get(name, ()))
        self._write_shared(names, shared)
        if self.written:
            self.write_description()

    def _changed_shared_records(
        self, names: Collection[str], shared: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | None]:
        """Return the shared records of which another thing counts than before; None: gone."""
        now = {name: shared_value(resource) for name, resource in shared.items()}
        either = {*names, *now}
        before = self._read_shared(either)
        return {name: now.get(name) for name in either if now.get(name) != before.get(name)}

    def _read_shared(self, names: Collection[str]) -> dict[str, str]:
        wanted = pa.array(sorted(names), pa.string())
        buckets = {self.layout.place(name) for name in names}
        return {
            row[GOLD_KEY]: row["value"]
            for table in self._iterate("shared_records", buckets)
            for row in table.filter(pc.is_in(table.column(GOLD_KEY), wanted)).to_pylist()
        }

    def _find_persons(
        self, removed: Mapping[str, Buckets], records: pa.Table
    ) -> defaultdict[int, set[str]]:
        """Return by bucket the persons whose rows the changed records are or were among."""
        persons: defaultdict[int, set[str]] = defaultdict(set)
        for row in records.select([BUCKET, "patient"]).to_pylist():
            if row["patient"] is not None:
                persons[row[BUCKET]].add(str(person_key(row["patient"])))
        names = {name for buckets in removed.values() for keys in buckets.values() for name in keys}
        places = {place for buckets in removed.values() for place in buckets}
        wanted = pa.array(sorted(names), pa.string())
        for table in self._iterate("source_records", places):
            found = table.filter(pc.is_in(table.column("record"), wanted))
            for row in found.select([GOLD_BUCKET, GOLD_KEY]).to_pylist():
                persons[row[GOLD_BUCKET]].add(row[GOLD_KEY])
        return persons

    def _persons_of(self, targets: Collection[str]) -> Mapping[int, set[str]]:
        """Return the persons whose rows were made with some shared records.

        One narrow column of all persons is read, and only where a medication's codes changed, or a
        doctor or a place came or went.
        """
        persons: defaultdict[int, set[str]] = defaultdict(set)
        if targets:
            table = self.lake.open_table(table_name("shared_references"))
            condition = pc.field("target").isin(pa.array(sorted(targets), pa.string()))
            for batch in table.to_pyarrow_dataset().to_batches(
                columns=[GOLD_BUCKET, GOLD_KEY], filter=condition
            ):
                for row in batch.to_pylist():
                    persons[row[GOLD_BUCKET]].add(row[GOLD_KEY])
        return persons

    def _build_persons(
        self, persons: Mapping[int, Collection[str]], changed: Mapping[str, str | None]
    ) -> Mapping[str, list[Row]]:
        def select(table: pa.Table) -> set[str]:
            return {
                pseudonym
                for bucket, pseudonym in _list_patients(table)
                if str(person_key(pseudonym)) in persons[bucket]
            }

        return concatenate_lists(
            self._build_rows(table, select(table), changed)
            for table in iterate_buckets(self.lake, "deid", persons)
        )

    def _build_rows(
        self, table: pa.Table, pseudonyms: Collection[str], changed: Mapping[str, str | None]
    ) -> Mapping[str, list[Row]]:
        """Return the rows of some persons, whose records are in a part of deid."""
        records: defaultdict[tuple[int, str], list[SourceRecord]] = defaultdict(list)
        wanted = pa.array(sorted(pseudonyms), pa.string())
        for row in table.filter(pc.is_in(table.column("patient"), wanted)).to_pylist():
            records[row[BUCKET], row["patient"]].append(_source_record(row))
        targets = {
            target
            for found in records.values()
            for record in found
            for target in list_shared_targets(record.resource)
        }
        known = self._read_shared(targets - changed.keys())
        known |= {name: value for name, value in changed.items() if value is not None}
        return concatenate_lists(
            self._builder.build(pseudonym, bucket, found, known)
            for (bucket, pseudonym), found in records.items()
        )

    def _write_shared(
        self, names: Collection[str], shared: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Replace the rows of doctors, places and medications that changed."""
        rows_by_table = build_shared_rows(self.layout, shared.items(), self.vocabulary)
        for table in WRITTEN_BY_RECORD:
            keys: defaultdict[int, set[str]] = defaultdict(set)
            for name in names:
                keys[self.layout.place(name)] |= _shared_keys(table, name)
            self._replace_keys(table, keys, rows_by_table.get(table, ()))

    # All persons.

    def remap(self) -> None:
        """Look every code up again; write the buckets with rows that change, and no other."""
        shared = self._all_shared_rows()
        for start in range(0, self.layout.buckets, _BUCKETS_AT_ONCE):
            buckets = range(start, min(start + _BUCKETS_AT_ONCE, self.layout.buckets))
            rows_by_table = self.build_buckets(buckets)
            for name in dict.fromkeys((*WRITTEN_BY_PERSON, *WRITTEN_BY_RECORD)):
                of_shared = [row for row in shared.get(name, ()) if row[GOLD_BUCKET] in buckets]
                rows = build_table(name, [*rows_by_table.get(name, ()), *of_shared])
                path = table_name(name)
                if replace_buckets(self.lake, path, buckets, rows, column=GOLD_BUCKET):
                    self.written.add(path)
        self.write_fixed_tables()

    def _all_shared_rows(self) -> Mapping[str, list[Row]]:
        batches = (
            self.lake.open_table("deid")
            .to_pyarrow_dataset()
            .to_batches(columns=["type", "id", "resource"], filter=IS_SHARED_RECORD)
        )
        present = (
            (f"{row['type']}/{row['id']}", orjson.loads(row["resource"]))
            for batch in batches
            for row in batch.to_pylist()
        )
        return build_shared_rows(self.layout, present, self.vocabulary)

    def build_buckets(self, buckets: Sequence[int]) -> Mapping[str, list[Row]]:
        """Return the rows of all persons of some buckets, by table."""
        return concatenate_lists(
            self._build_rows(table, {pseudonym for _, pseudonym in _list_patients(table)}, {})
            for table in iterate_buckets(self.lake, "deid", buckets)
        )

    # Tables of no person.

    def write_fixed_tables(self) -> None:
        """Write the regions of the jurisdiction, and what the CDM says of itself."""
        self._overwrite("location", build_locations())
        self.write_description()

    def write_description(self) -> None:
        """Write cdm_source and metadata: what was used for the run, and when."""
        at = datetime.fromtimestamp(self.now_ms / 1000, UTC).astimezone(JURISDICTION.zone)
        moment = at.replace(tzinfo=None, microsecond=0)
        used = self.state.describe_run()
        source = {
            "cdm_source_name": f"eHR Commons, {JURISDICTION.name}",
            "cdm_source_abbreviation": "eHR Commons",
            "cdm_holder": "The operator of this platform",
            "source_description": "De-identified FHIR R4 records of people who joined and did not "
            "opt out of research; dates of each person are shifted by whole weeks.",
            "source_documentation_reference": "docs/explanation/deidentification.md",
            "cdm_etl_reference": "docs/explanation/omop.md",
            "source_release_date": moment.date(),
            "cdm_release_date": moment.date(),
            "cdm_version": f"v{CDM_VERSION}",
            "cdm_version_concept_id": _CDM_5_4,
            "vocabulary_version": self.state.release[:20],
        }
        self._overwrite("cdm_source", [{GOLD_BUCKET: 0, GOLD_KEY: "", **source}])
        rows = [
            {GOLD_BUCKET: 0, GOLD_KEY: "", "metadata_id": integer_key("metadata", name),
             "metadata_concept_id": 0, "metadata_type_concept_id": _ALGORITHM, "name": name,
             "value_as_string": value, "metadata_date": moment.date(),
             "metadata_datetime": moment}
            for name, value in used.items()
        ]  # fmt: skip
        self._overwrite("metadata", rows)
        record_run(self.lake, self.state, self.now_ms)

    # Reading and writing.

    def _iterate(self, name: str, buckets: Iterable[int]) -> Iterator[pa.Table]:
        return iterate_buckets(self.lake, table_name(name), buckets, column=GOLD_BUCKET)

    def _replace_keys(self, name: str, removed: Buckets, rows: Iterable[Mapping[str, Any]]) -> None:
        path = table_name(name)
        if delete_keys_and_add(
            self.lake,
            path,
            removed,
            build_table(name, rows),
            lambda found: found.column(GOLD_KEY),
            column=GOLD_BUCKET,
        ):
            self.written.add(path)

    def _overwrite(self, name: str, rows: Sequence[Row]) -> None:
        """Write a whole table in one commit, unless it is as it was."""
        path = table_name(name)
        table = self.lake.open_table(path)
        old = pa.table(table.to_pyarrow_table())
        new = build_table(name, rows).select(old.column_names).cast(old.schema)
        order = [(column, "ascending") for column in old.column_names]
        if not new.sort_by(order).equals(old.sort_by(order)):
            write_deltalake(table, new, mode="overwrite")
            self.written.add(path)


# OMOP CDM Version 5.4.0, and the type concept of what software made.
_CDM_5_4 = 756265
_ALGORITHM = 32880


def build_locations() -> list[Row]:
    """Return the rows of location: regions are all that de-identification keeps of addresses."""
    rows = []
    for region in sorted(set(JURISDICTION.regions.values())):
        key = integer_key("location", region)
        rows.append(
            {GOLD_BUCKET: 0, GOLD_KEY: str(key), "location_id": key,
             "location_source_value": region[:50], "country_concept_id": 0,
             "country_source_value": JURISDICTION.country}
        )  # fmt: skip
    return rows


def _read_shared_records(records: pa.Table) -> dict[str, Mapping[str, Any]]:
    """Return `Type/pseudonym` -> content of the shared records among some rows of deid."""
    return {
        f"{row['type']}/{row['id']}": orjson.loads(row["resource"])
        for row in records.filter(IS_SHARED_RECORD).to_pylist()
    }


def _shared_keys(table: str, name: str) -> set[str]:
    """Return the keys that a table's rows of a shared record have."""
    if table == "shared_records":
        return {name}
    if table == "unmapped_codes":
        return {str(integer_key(kind, name)) for kind in ("care_site", "provider")}
    return {str(integer_key(table, name))}


def _list_patients(table: pa.Table) -> set[tuple[int, str]]:
    rows = table.select([BUCKET, "patient"]).group_by([BUCKET, "patient"]).aggregate([])
    return {(row[BUCKET], row["patient"]) for row in rows.to_pylist() if row["patient"] is not None}


def _source_record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(row["type"], row["id"], orjson.loads(row["resource"]))
