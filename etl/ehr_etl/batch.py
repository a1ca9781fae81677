"""One batch of changes, applied to every table: only what a change concerns is read and written.

The order of the writes does not matter for the result, but for one thing: where the old row of a
record is (`places`) and what was decided before (`decisions`) are written last. A batch that a
crash cut short is done again from its lines, and finds the old rows where they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from ehr_etl.change_feed.entries import FeedLine
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.gold.library import list_view_names
from ehr_etl.gold.tables import drop_gold_table, gold_table_name, update_gold_table
from ehr_etl.lake import TABLES, Lake
from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.tables.bucketed import (
    Buckets,
    Layout,
    append_rows,
    delete_keys_and_add,
    iterate_buckets,
)
from ehr_etl.tables.decisions import PatientDecision, next_change_ms
from ehr_etl.tables.deid import RecordScrubber, deid_key_text
from ehr_etl.tables.silver import ResourceState, SilverReport, check_batch
from ehr_fhir.errors import EhrError
from ehr_privacy.consent import record_from_json

__all__ = ["Batch", "BatchWriter", "patients_of", "record_key"]

Row = dict[str, Any]


def record_key(resource_type: str | None, resource_id: str | None) -> str:
    """Return the key of a record within the lake."""
    return f"{resource_type}/{resource_id}"


def patients_of(row: Mapping[str, Any]) -> frozenset[str]:
    """Return the patients of a row of silver; nobody where its facts are not known."""
    if row["facts"] is None:
        return frozenset()
    facts = orjson.loads(row["facts"])
    return record_from_json(facts, row["type"], row["id"], row["author"]).patients


@dataclass(frozen=True)
class Batch:
    """Lines of the feed by sequence, positions that stewards released, patients to decide anew."""

    lines: Sequence[tuple[int, FeedLine]] = ()
    released: Sequence[int] = ()
    due_patients: Collection[str] = ()


@dataclass
class BatchWriter:
    """Applies batches to the tables of a lake."""

    lake: Lake
    layout: Layout
    key: bytes
    now_ms: int
    rules: QualityRules
    views: Mapping[str, ViewDefinition]
    start_spark: Callable[[], SparkSession]
    silver: SilverReport = field(default_factory=SilverReport)
    # Tables that were written.
    written: set[str] = field(default_factory=set)
    # Tables of users' own views that could not be brought up to date, and are gone.
    dropped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scrubber = RecordScrubber(self.key, self.now_ms)

    def apply(self, batch: Batch) -> None:
        """Apply one batch."""
        states = self._take_lines(batch)
        changed = self._changed_decisions(batch, states)
        places = self._old_places(states)
        rows = self._new_rows(states)
        self._write_quarantine(batch, states)
        self._write_history(states)
        self._write_silver(states, places, rows)
        redone = {**self._rows_of_patients(set(changed), states), **rows}
        known = {**self._read_decisions(redone.values()), **changed}
        self._write_deid_and_gold(states, places, redone, known)
        self._write_decisions(changed)
        self._write_places(rows)

    # What the lines say.

    def _take_lines(self, batch: Batch) -> dict[str, ResourceState]:
        reasons: Mapping[int, list[str]] = {}
        if any(line.kind == "version" and line.resource for _, line in batch.lines):
            reasons = check_batch(self.start_spark(), batch.lines, self.rules)
        released = {*batch.released}
        waiting = self._released_keys(released)
        keys = {
            record_key(line.type, line.id)
            for _, line in batch.lines
            if line.kind in ("version", "facts")
        }
        states = self._read_states(keys | waiting)
        for sequence, line in batch.lines:
            if line.kind == "version":
                broken = [] if line.position in released else reasons.get(sequence, [])
                self.silver.count(broken)
            elif line.kind == "facts":
                broken = []
            else:
                if line.kind == "fault":
                    self.silver.count([str(line.fault)])
                continue
            states[record_key(line.type, line.id)].take(line, broken)
        for state in states.values():
            for position in released:
                state.release(position)
            state.settle()
        return states

    def _read_states(self, keys: Collection[str]) -> dict[str, ResourceState]:
        states: defaultdict[str, ResourceState] = defaultdict(ResourceState)
        for row in self._read_rows("silver", self._places_of(keys), keys, _record_keys):
            del row["bucket"]
            states[record_key(row["type"], row["id"])].current = row
        buckets = {self.layout.place(key) for key in keys}
        for row in self._read_rows("quarantine", buckets, keys, _key_column):
            key = row.pop("key")
            del row["bucket"]
            states[key].waiting = row
        return defaultdict(ResourceState, states)

    def _released_keys(self, positions: Collection[int]) -> set[str]:
        """Return the records whose version at one of some positions waits in quarantine."""
        if not positions:
            return set()
        table = self._dataset("quarantine")
        condition = pc.field("position").isin(pa.array(sorted(positions), pa.int64()))
        rows = table.to_table(columns=["key", "type"], filter=condition).to_pylist()
        return {row["key"] for row in rows if row["type"] is not None}

    def _changed_decisions(
        self, batch: Batch, states: Mapping[str, ResourceState]
    ) -> dict[str, PatientDecision]:
        """Return the patients whose decision is another than before, or may be."""
        told = {line.id: line.rules for _, line in batch.lines if line.kind == "rules" and line.id}
        gone = {
            str(state.current["id"]): bool(state.current["deleted"])
            for state in states.values()
            if state.current is not None and state.current["type"] == "Patient"
        }
        concerned = {*told, *gone, *batch.due_patients}
        before = self._read_decisions_of(concerned)
        changed = {}
        for patient in concerned:
            old = before.get(patient, PatientDecision())
            changed[patient] = PatientDecision(
                told.get(patient, old.rules), gone.get(patient, old.gone)
            )
        # A Patient that is written again and is there as before concerns no other record. One that
        # is deleted does, even if that is known: a crash may have come before its records left.
        return {
            patient: decision
            for patient, decision in changed.items()
            if patient in told
            or patient in batch.due_patients
            or decision.gone
            or decision.gone != before.get(patient, PatientDecision()).gone
        }

    # Where rows are.

    def _places_of(self, keys: Collection[str]) -> set[int]:
        return {place for found in self._places_by_key(keys).values() for place in found}

    def _places_by_key(self, keys: Collection[str]) -> dict[str, set[int]]:
        places: defaultdict[str, set[int]] = defaultdict(set)
        buckets = {self.layout.place(key) for key in keys}
        for row in self._read_rows("places", buckets, keys, _key_column):
            places[row["key"]].add(row["place"])
        return places

    def _old_places(self, states: Mapping[str, ResourceState]) -> dict[str, set[int]]:
        return self._places_by_key(list(states))

    def _new_rows(self, states: Mapping[str, ResourceState]) -> dict[str, Row]:
        """Return the rows of silver of the states, each with its bucket."""
        rows = {}
        for key, state in states.items():
            if state.current is not None:
                row = state.current
                bucket = self.layout.record_place(patients_of(row), row["type"], row["id"])
                rows[key] = {"bucket": bucket, **row}
        return rows

    def _rows_of_patients(
        self, patients: Collection[str], states: Mapping[str, ResourceState]
    ) -> dict[str, Row]:
        """Return the rows of silver about some patients, but those that the batch replaces."""
        if not patients:
            return {}
        buckets = {self.layout.place(f"Patient/{patient}") for patient in patients}
        prefixes = {f"also:{patient}@" for patient in patients}
        also = {self.layout.place(f"also:{patient}") for patient in patients}
        for table in iterate_buckets(self.lake, "places", also):
            for row in table.to_pylist():
                if row["key"].partition("@")[0] + "@" in prefixes:
                    buckets.add(row["place"])
        found = {}
        for table in iterate_buckets(self.lake, "silver", buckets):
            for row in table.to_pylist():
                key = record_key(row["type"], row["id"])
                if key not in states and not patients_of(row).isdisjoint(patients):
                    found[key] = row
        return found

    # Decisions.

    def _read_decisions(self, rows: Iterable[Row]) -> dict[str, PatientDecision]:
        return self._read_decisions_of({"*", *(p for row in rows for p in patients_of(row))})

    def _read_decisions_of(self, patients: Collection[str]) -> dict[str, PatientDecision]:
        buckets = {self.layout.place(f"Patient/{patient}") for patient in patients}
        return {
            row["patient"]: PatientDecision(row["rules"], row["gone"])
            for row in self._read_rows("decisions", buckets, patients, _patient_column)
        }

    def _write_decisions(self, changed: Mapping[str, PatientDecision]) -> None:
        removed = defaultdict(set)
        rows = []
        for patient, decision in changed.items():
            bucket = self.layout.place(f"Patient/{patient}")
            removed[bucket].add(patient)
            if decision == PatientDecision():
                # As of somebody of whom nothing was ever told.
                continue
            rows.append(
                {
                    "bucket": bucket,
                    "patient": patient,
                    "rules": decision.rules,
                    "gone": decision.gone,
                    "changes_ms": next_change_ms(decision.rows, self.now_ms),
                }
            )
        self._replace("decisions", removed, rows, _patient_column)

    # Writes.

    def _write_quarantine(self, batch: Batch, states: Mapping[str, ResourceState]) -> None:
        removed = defaultdict(set)
        rows = []
        for key, state in states.items():
            bucket = self.layout.place(key)
            removed[bucket].add(key)
            if state.waiting is not None:
                rows.append({"bucket": bucket, "key": key, **state.waiting})
        for _, line in batch.lines:
            if line.kind == "fault":
                bucket = self.layout.place(line.key)
                removed[bucket].add(line.key)
                rows.append(
                    {
                        "bucket": bucket,
                        "key": line.key,
                        "position": line.position,
                        "deleted": False,
                        "reasons": [line.fault],
                        "resource": line.resource,
                    }
                )
        self._replace("quarantine", removed, rows, _key_column)

    def _write_history(self, states: Mapping[str, ResourceState]) -> None:
        schema = TABLES["silver_history"].schema
        rows = [
            {name: row[name] for name in schema.names}
            for state in states.values()
            for row in state.passed
        ]
        if not rows:
            return
        positions = pa.array([row["position"] for row in rows], pa.int64())
        # Of a batch that is done again, some are there.
        there = self._dataset("silver_history").to_table(
            columns=["position"], filter=pc.field("position").isin(positions)
        )
        known = set(there.column("position").to_pylist())
        new = [row for row in rows if row["position"] not in known]
        if new:
            new.sort(key=lambda row: int(row["position"]))
            append_rows(self.lake, "silver_history", pa.Table.from_pylist(new, schema=schema))
            self.written.add("silver_history")

    def _write_silver(
        self,
        states: Mapping[str, ResourceState],
        places: Mapping[str, set[int]],
        rows: Mapping[str, Row],
    ) -> None:
        removed = defaultdict(set)
        for key in states:
            for place in self._all_places(key, places, rows):
                removed[place].add(key)
        self._replace("silver", removed, list(rows.values()), _record_keys)

    def _write_deid_and_gold(
        self,
        states: Mapping[str, ResourceState],
        places: Mapping[str, set[int]],
        redone: Mapping[str, Row],
        decisions: Mapping[str, PatientDecision],
    ) -> None:
        removed: defaultdict[int, set[str]] = defaultdict(set)
        removed_by_type: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(
            lambda: defaultdict(set)
        )
        rows = []
        for key in {*states, *redone}:
            resource_type, _, resource_id = key.partition("/")
            name = deid_key_text(self.key, resource_type, resource_id)
            for place in self._all_places(key, places, redone):
                removed[place].add(name)
                removed_by_type[resource_type][place].add(name)
            row = redone.get(key)
            scrubbed = None if row is None else self.scrubber.scrub(row, decisions)
            if scrubbed is not None:
                rows.append(scrubbed)
        records = pa.Table.from_pylist(rows, schema=TABLES["deid"].schema)
        # Gold follows even where deid is as it was: a crash may have come between the two.
        self._replace("deid", removed, records, lambda found: found.column("id"))
        present = (
            view for name, view in self.views.items() if gold_table_name(name) not in self.dropped
        )
        for view in present:
            of_type = removed_by_type.get(view.resource)
            if of_type:
                chosen = records.filter(pc.equal(records.column("type"), view.resource))
                spark = self.start_spark() if chosen.num_rows else None
                self._update_gold(spark, view, of_type, chosen)

    def _update_gold(
        self, spark: SparkSession | None, view: ViewDefinition, removed: Buckets, records: pa.Table
    ) -> None:
        name = gold_table_name(view.name)
        try:
            is_changed = update_gold_table(spark, self.lake, view, removed, records)
        except EhrError:
            if view.name in list_view_names():
                raise
            # A user's own view that does not bear the data must not hold up who leaves.
            drop_gold_table(self.lake, view.name)
            self.dropped.add(name)
            return
        if is_changed:
            self.written.add(name)

    def _write_places(self, rows: Mapping[str, Row]) -> None:
        removed = defaultdict(set)
        added = []
        for key, row in rows.items():
            bucket = self.layout.place(key)
            removed[bucket].add(key)
            added.append({"bucket": bucket, "key": key, "place": row["bucket"]})
            for patient in patients_of(row):
                if self.layout.place(f"Patient/{patient}") != row["bucket"]:
                    also = self.layout.place(f"also:{patient}")
                    name = f"also:{patient}@{row['bucket']}"
                    removed[also].add(name)
                    added.append({"bucket": also, "key": name, "place": row["bucket"]})
        unique = {row["key"]: row for row in added}
        self._replace("places", removed, list(unique.values()), _key_column)

    @staticmethod
    def _all_places(key: str, places: Mapping[str, set[int]], rows: Mapping[str, Row]) -> set[int]:
        new = {int(rows[key]["bucket"])} if key in rows else set()
        return {*places.get(key, ()), *new}

    def _replace(
        self,
        name: str,
        removed: Mapping[int, Collection[str]],
        rows: list[Row] | pa.Table,
        key_of: Callable[[pa.Table], Any],
    ) -> bool:
        schema = TABLES[name].schema
        added = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
        is_changed = delete_keys_and_add(self.lake, name, removed, added, key_of)
        if is_changed:
            self.written.add(name)
        return is_changed

    def _dataset(self, name: str) -> Any:
        return DeltaTable(str(self.lake.table_path(name))).to_pyarrow_dataset()

    def _read_rows(
        self,
        name: str,
        buckets: Iterable[int],
        keys: Collection[str],
        key_of: Callable[[pa.Table], Any],
    ) -> Iterable[Row]:
        """Yield the rows of some keys, which are in some buckets."""
        wanted = pa.array(sorted(keys), pa.string())
        for table in iterate_buckets(self.lake, name, buckets):
            yield from table.filter(pc.is_in(key_of(table), wanted)).to_pylist()


def _record_keys(table: pa.Table) -> Any:
    return pc.binary_join_element_wise(table.column("type"), table.column("id"), "/")


def _key_column(table: pa.Table) -> Any:
    return table.column("key")


def _patient_column(table: pa.Table) -> Any:
    return table.column("patient")
