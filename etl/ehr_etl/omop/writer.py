"""Writes the OMOP tables: persons whose records changed, or all of them, bucket by bucket.

A person's rows are in the bucket of their Patient, wherever their records are (`split_persons`). A
batch finds the persons it concerns by their records, as deid has them now and as `source_records`
had them, and makes all rows of these persons anew. What is as it was is not written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
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
from ehr_etl.omop.split_persons import (
    SplitPerson,
    build_place_rows,
    find_home,
    find_split_persons,
    read_places,
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

# Tables with rows of persons, in the order of writing: by the last two a batch that is done again
# finds whose rows a record gave, and where.
WRITTEN_BY_PERSON = (
    *(*PERSON_TABLES, "unmapped_codes", "shared_references"),
    *("source_records", "split_persons"),
)
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

    def apply(
        self,
        removed: Mapping[str, Buckets],
        records: pa.Table,
        merged: Mapping[str, Collection[int]] = MappingProxyType({}),
        *,
        is_careful: bool = False,
    ) -> None:
        """Follow a batch: `removed` has by type and bucket the pseudonyms of records that changed.

        `records` are their rows of deid as they are now. `merged` has by pseudonym the buckets of
        all accounts of a person who has several. Where a batch before was cut short (`is_careful`),
        persons whose records are in several buckets are looked at whenever one of these is.
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
        places = self._find_places(removed, records, merged, changed, is_careful=is_careful)
        rows_by_table = self._build_persons(places, changed)
        persons = _group_by_bucket(places)
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

    def _find_places(
        self,
        removed: Mapping[str, Buckets],
        records: pa.Table,
        merged: Mapping[str, Collection[int]],
        changed: Mapping[str, str | None],
        *,
        is_careful: bool,
    ) -> dict[str, set[int]]:
        """Return by key the persons to make anew, and every bucket where they have or had rows."""
        split = read_places(self.lake)
        touched = {place for buckets in removed.values() for place in buckets}
        concerned = [key for key, places in split.items() if not touched.isdisjoint(places)]
        homes = touched.union(*(split[key] for key in concerned))
        persons = self._find_persons(removed, records, homes)
        for bucket, keys in self._persons_of(changed.keys()).items():
            persons[bucket] |= keys
        places: defaultdict[str, set[int]] = defaultdict(set)
        for bucket, keys in persons.items():
            for key in keys:
                places[key].add(bucket)
        if is_careful:
            places |= {key: set() for key in concerned if key not in places}
        accounts = {str(person_key(name)): buckets for name, buckets in merged.items()}
        return {
            key: {*buckets, *split.get(key, ()), *accounts.get(key, ())}
            for key, buckets in places.items()
        }

    def _find_persons(
        self, removed: Mapping[str, Buckets], records: pa.Table, places: Collection[int]
    ) -> defaultdict[int, set[str]]:
        """Return by bucket the persons whose rows the changed records are or were among."""
        persons: defaultdict[int, set[str]] = defaultdict(set)
        for row in records.select([BUCKET, "patient"]).to_pylist():
            if row["patient"] is not None:
                persons[row[BUCKET]].add(str(person_key(row["patient"])))
        names = {name for buckets in removed.values() for keys in buckets.values() for name in keys}
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
        self, places: Mapping[str, Collection[int]], changed: Mapping[str, str | None]
    ) -> Mapping[str, list[Row]]:
        persons = _group_by_bucket(places)
        built: list[Mapping[str, list[Row]]] = []
        # Of persons in several buckets, which may be read one after the other.
        split: list[pa.Table] = []
        for table in iterate_buckets(self.lake, "deid", persons):
            keys = {
                pseudonym: key
                for bucket, pseudonym in _list_patients(table)
                if (key := str(person_key(pseudonym))) in persons[bucket]
            }
            several = {pseudonym for pseudonym, key in keys.items() if len(places[key]) > 1}
            if several:
                split.append(_select_patients(table, several))
            if keys.keys() - several:
                built.append(self._build_rows(table, keys.keys() - several, changed))
        if split:
            table = pa.concat_tables(split)
            built.append(self._build_rows(table, set(table.column("patient").to_pylist()), changed))
        return concatenate_lists(built)

    def _build_rows(
        self, table: pa.Table, pseudonyms: Collection[str], changed: Mapping[str, str | None]
    ) -> Mapping[str, list[Row]]:
        """Return the rows of some persons, all of whose records are in a part of deid."""
        records: defaultdict[str, list[SourceRecord]] = defaultdict(list)
        places: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for row in _select_patients(table, pseudonyms).to_pylist():
            records[row["patient"]].append(_source_record(row))
            places[row["patient"]].append((row["type"], row[BUCKET]))
        targets = {
            target
            for found in records.values()
            for record in found
            for target in list_shared_targets(record.resource)
        }
        known = self._read_shared(targets - changed.keys())
        known |= {name: value for name, value in changed.items() if value is not None}
        built: list[Mapping[str, list[Row]]] = []
        for pseudonym, found in records.items():
            home = find_home(places[pseudonym])
            built.append(self._builder.build(pseudonym, home, found, known))
            person = SplitPerson(home, frozenset(bucket for _, bucket in places[pseudonym]))
            built.append({"split_persons": build_place_rows(pseudonym, person)})
        return concatenate_lists(built)

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
        shared, split = self._all_shared_rows(), find_split_persons(self.lake, self.layout)
        for start in range(0, self.layout.buckets, _BUCKETS_AT_ONCE):
            buckets = range(start, min(start + _BUCKETS_AT_ONCE, self.layout.buckets))
            rows_by_table = self.build_buckets(buckets, split)
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

    def build_buckets(
        self, buckets: Sequence[int], split: Mapping[str, SplitPerson]
    ) -> Mapping[str, list[Row]]:
        """Return the rows of all persons whose rows are in some buckets, by table.

        `split` has by pseudonym the persons of the lake whose records are in several buckets.
        """
        built = [
            self._build_rows(table, {name for _, name in _list_patients(table)} - split.keys(), {})
            for table in iterate_buckets(self.lake, "deid", buckets)
        ]
        here = {name: person for name, person in split.items() if person.home in buckets}
        elsewhere = {bucket for person in here.values() for bucket in person.buckets}
        tables = [
            _select_patients(table, here) for table in iterate_buckets(self.lake, "deid", elsewhere)
        ]
        if tables:
            built.append(self._build_rows(pa.concat_tables(tables), here, {}))
        return concatenate_lists(built)

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


def _group_by_bucket(places: Mapping[str, Collection[int]]) -> dict[int, set[str]]:
    """Return by bucket the persons with rows there.

    >>> _group_by_bucket({"7": {1, 2}, "8": {2}}) == {1: {"7"}, 2: {"7", "8"}}
    True
    """
    grouped: defaultdict[int, set[str]] = defaultdict(set)
    for key, buckets in places.items():
        for bucket in buckets:
            grouped[bucket].add(key)
    return dict(grouped)


def _select_patients(table: pa.Table, pseudonyms: Collection[str]) -> pa.Table:
    return table.filter(
        pc.is_in(table.column("patient"), pa.array(sorted(pseudonyms), pa.string()))
    )


def _list_patients(table: pa.Table) -> set[tuple[int, str]]:
    rows = table.select([BUCKET, "patient"]).group_by([BUCKET, "patient"]).aggregate([])
    return {(row[BUCKET], row["patient"]) for row in rows.to_pylist() if row["patient"] is not None}


def _source_record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(row["type"], row["id"], orjson.loads(row["resource"]))
