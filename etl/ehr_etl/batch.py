"""One batch of changes, applied to every table: only what a change concerns is read and written.

The order of the writes does not matter for the result, but for one thing: where the old row of a
record is (`places`), what was decided before (`decisions`) and who shared an identity
(`identities`) are written last. A batch that a crash cut short is done again from its lines, and
finds the old rows where they were. What it may have changed beside them is not known then, so a
batch after one that was cut short looks at whole buckets (`is_careful`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.change_feed.entries import FeedLine
from ehr_etl.data_quality.faults import Fault
from ehr_etl.data_quality.linked_rules import LinkedRecord
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.gold.tables import drop_table_on_failure, update_gold_table
from ehr_etl.lake import BUCKET, TABLES, Lake, gold_table_name
from ehr_etl.omop.writer import OmopWriter
from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.tables.bucketed import (
    KeyColumn,
    Layout,
    append_rows,
    delete_keys_and_add,
    iterate_buckets,
    read_rows,
)
from ehr_etl.tables.decisions import (
    ClosedRecords,
    PatientDecision,
    build_decision_row,
    list_patients,
    read_decisions,
    read_decisions_of,
)
from ehr_etl.tables.deid import RecordScrubber, deid_key_text
from ehr_etl.tables.identities import IdentityIndex, build_identity_rows
from ehr_etl.tables.linking import (
    DUPLICATE_PERSON,
    build_finding_row,
    find_row_faults,
    first_patient,
    parse_row,
)
from ehr_etl.tables.people import KnownPeople, read_account, read_people
from ehr_etl.tables.places import (
    build_place_rows,
    is_place_of_patient,
    patient_place,
    record_key,
    record_keys,
)
from ehr_etl.tables.quarantine import read_steward_decisions
from ehr_etl.tables.shared_targets import Arrivals, Referrers, SharedTargets
from ehr_etl.tables.silver import ResourceState, SilverReport, check_line, is_late_line

__all__ = ["Batch", "BatchWriter"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Lines of the feed by sequence, records decided by a steward, patients to decide anew."""

    lines: Sequence[tuple[int, FeedLine]] = ()
    judged: Collection[str] = ()
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
    # Keeps the OMOP tables, where the lake has them.
    omop: OmopWriter | None = None
    is_careful: bool = True
    silver: SilverReport = field(default_factory=SilverReport)
    # Tables that were written.
    written: set[str] = field(default_factory=set)
    # Tables of users' own views that could not be brought up to date, and are gone.
    dropped: set[str] = field(default_factory=set)
    # Counts the records that research may not use.
    closed: ClosedRecords = field(default_factory=ClosedRecords)
    # Whether more rows of silver are to be checked again than a batch can hold: make it anew.
    is_silver_stale: bool = False

    def __post_init__(self) -> None:
        self.scrubber = RecordScrubber(self.key, self.now_ms, self.closed)
        self.identity_index = IdentityIndex(self.lake, self.layout)
        self.shared_targets = SharedTargets(self.lake, self.layout, self.rules)

    def apply(self, batch: Batch) -> None:
        """Apply one batch."""
        states, places = self._apply_lines(batch)
        changed = self._find_changed_decisions(batch, states)
        rows = self._build_rows(states)
        identities = self._build_identities(states)
        referrers = self.shared_targets.find_referrers(self._find_arrivals(states), states.keys())
        self.is_silver_stale |= referrers.is_too_many
        missing_places: list[Row] = []
        rows = self._find_linked_faults(states, places, rows, identities, referrers, missing_places)
        self._write_quarantine(batch, states)
        self._write_history(states)
        self._write_silver(states, places, rows)
        affected = self._find_affected_people(set(changed), states, rows)
        redone = {**self._read_rows_of_patients(affected, states), **rows}
        concerned = {patient for row in redone.values() for patient in list_patients(row)}
        people = read_people(self.lake, self.layout, concerned, redone.values())
        decisions = {
            **read_decisions(self.lake, self.layout, concerned),
            **changed,
        }
        self._write_deid_and_gold(states, places, redone, decisions, people)
        self._write_decisions(changed)
        self._write_identities(identities)
        self._write_places(rows, referrers.outdated, missing_places)

    # What the lines say.

    def _apply_lines(
        self, batch: Batch
    ) -> tuple[Mapping[str, ResourceState], Mapping[str, set[int]]]:
        """Return what the lines make of the records they name, and where the old rows are."""
        keys = {
            *batch.judged,
            *(
                record_key(line.type, line.id)
                for _, line in batch.lines
                if line.kind in ("version", "facts")
            ),
        }
        places = self._read_places(keys)
        states = self._read_states(keys, places)
        for key, decided in read_steward_decisions(self.lake, self.layout, keys).items():
            states[key].decided = decided
        for _, line in batch.lines:
            if line.kind not in ("version", "facts", "fault"):
                continue
            faults = check_line(line, self.rules)
            is_held = any(self.rules.is_error(fault.rule) for fault in faults)
            if line.kind == "fault":
                self.silver.count([fault.rule for fault in faults], is_held=True)
                continue
            state = states[record_key(line.type, line.id)]
            if line.kind == "version":
                is_held = is_held and not state.is_released(line.version)
                self.silver.count(
                    [fault.rule for fault in faults],
                    is_held=is_held,
                    author=line.author,
                    is_late=is_late_line(line),
                )
            state.take(line, faults if is_held else ())
        for key in keys:
            states[key].release_waiting()
            states[key].settle()
        return states, places

    def _read_states(
        self, keys: Collection[str], places: Mapping[str, set[int]]
    ) -> defaultdict[str, ResourceState]:
        states: defaultdict[str, ResourceState] = defaultdict(ResourceState)
        silver_buckets = {place for found in places.values() for place in found}
        for row in self._read_rows("silver", silver_buckets, keys, record_keys):
            state = states[record_key(row["type"], row["id"])]
            state.before = dict(row)
            del row["bucket"]
            state.current = row
        buckets = {self.layout.place(key) for key in keys}
        for row in self._read_rows("quarantine", buckets, keys, _key_column):
            key = row.pop("key")
            del row["bucket"]
            states[key].waiting = row
        return states

    def _find_changed_decisions(
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
        before = read_decisions_of(self.lake, self.layout, concerned)
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

    def _find_affected_people(
        self,
        changed: set[str],
        states: Mapping[str, ResourceState],
        rows: Mapping[str, Row],
    ) -> set[str]:
        """Return the patients all of whose records are made anew, silver being written.

        Those whose decision changed, whose birth date or merges did, and every other account of
        the same person.
        """
        affected, linked = set(changed), set[str]()
        for state in states.values():
            if state.current is None or state.current["type"] != "Patient":
                continue
            before, after = read_account(state.before), read_account(state.current)
            # After a crash what was before is not known.
            if self.is_careful or before != after:
                affected.add(str(state.current["id"]))
                linked |= before.linked
        if not affected:
            return affected
        people = read_people(self.lake, self.layout, affected, rows.values())
        return people.with_linked(affected) | linked

    # Where rows are.

    def _read_places(self, keys: Collection[str]) -> dict[str, set[int]]:
        places: defaultdict[str, set[int]] = defaultdict(set)
        buckets = {self.layout.place(key) for key in keys}
        for row in self._read_rows("places", buckets, keys, _key_column):
            places[row["key"]].add(row["place"])
        return places

    def _build_rows(self, states: Mapping[str, ResourceState]) -> dict[str, Row]:
        """Return the rows of silver of the states, each with its bucket."""
        rows = {}
        for key, state in states.items():
            if state.current is not None:
                row = state.current
                bucket = self.layout.record_place(list_patients(row), row["type"], row["id"])
                rows[key] = {"bucket": bucket, **row}
        return rows

    def _read_rows_of_patients(
        self, patients: Collection[str], states: Mapping[str, ResourceState]
    ) -> dict[str, Row]:
        """Return the rows of silver about some patients, but those that the batch replaces."""
        if not patients:
            return {}
        buckets = {self.layout.place(f"Patient/{patient}") for patient in patients}
        others = {patient_place(self.layout, patient) for patient in patients}
        for table in iterate_buckets(self.lake, "places", others):
            buckets |= {
                row["place"] for row in table.to_pylist() if is_place_of_patient(row, patients)
            }
        rows = {}
        for table in iterate_buckets(self.lake, "silver", buckets):
            for row in table.to_pylist():
                key = record_key(row["type"], row["id"])
                if key not in states and not list_patients(row).isdisjoint(patients):
                    rows[key] = row
        return rows

    # Faults beside other records.

    def _find_linked_faults(
        self,
        states: Mapping[str, ResourceState],
        places: Mapping[str, set[int]],
        rows: Mapping[str, Row],
        identities: Mapping[str, list[Row]],
        referrers: Referrers,
        missing_places: list[Row],
    ) -> dict[str, Row]:
        """Find the faults of the new rows, and of those beside them; return all rows that change.

        Looked at are the new rows and those beside them, of the patients whom the new and the old
        rows are about, the Patients who share an identity with one that changes, or did so, and
        rows that name a shared record that came or went. Rows of `places` for what is named and is
        not there are added to `missing_places`.
        """
        people = self.identity_index.find_duplicates_of(
            self.identity_index.find_sharing_people(identities), identities
        )
        buckets = self._find_patients_by_bucket(
            states, places, rows, people.keys() - identities.keys()
        )
        for row in referrers.rows.values():
            buckets[row[BUCKET]].add(first_patient(row))
        changed_rows = dict(rows)
        findings: list[Row] = []
        removed = self._group_keys_by_place(states, places, rows)
        changed = _group_by_patient(states)
        for place, there in self._read_neighbour_rows(buckets, states, rows, referrers.rows):
            missing = self._find_missing_targets(there, states, referrers.rows)
            known = people | self.identity_index.find_duplicates_of(
                self._find_doubtful_people(there) - people.keys(), identities
            )
            faults = find_row_faults(
                there.values(),
                self.rules,
                decided=self._read_steward_decisions(there, states),
                people={name: other for name, other in known.items() if other is not None},
                patients=None if self.is_careful else buckets[place],
                changed=None if self.is_careful else changed,
                fresh=states.keys(),
                missing=missing,
                recheck=referrers.rows.keys(),
            )
            self._drop_released_faults(faults, there, states)
            for key, listed in faults.items():
                row, names = there[key], [fault.rule for fault in listed]
                if key not in rows and (self.is_careful or names != row["faults"]):
                    changed_rows[key] = row
                row["faults"] = names
                removed[place].add(key)
                if listed:
                    findings.append(build_finding_row(row, listed))
                    missing_places += self.shared_targets.build_missing_places(row, missing)
        self._replace("findings", removed, findings, _key_column)
        return changed_rows

    def _find_patients_by_bucket(
        self,
        states: Mapping[str, ResourceState],
        places: Mapping[str, set[int]],
        rows: Mapping[str, Row],
        people: Collection[str],
    ) -> dict[int, set[str | None]]:
        """Return the buckets to look at, and of which patients the records there."""
        buckets: defaultdict[int, set[str | None]] = defaultdict(set)
        for key, row in rows.items():
            for place in self._list_places(key, places, rows):
                buckets[place].add(first_patient(row))
        for state in states.values():
            if state.before is not None:
                buckets[state.before[BUCKET]].add(first_patient(state.before))
        keys = {record_key("Patient", patient) for patient in people}
        found = {place for listed in self._read_places(keys).values() for place in listed}
        for row in self._read_rows("silver", found, keys, record_keys):
            buckets[row[BUCKET]].add(first_patient(row))
        return buckets

    def _read_neighbour_rows(
        self,
        buckets: Mapping[int, Collection[str | None]],
        states: Mapping[str, ResourceState],
        rows: Mapping[str, Row],
        referrers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Row]]]:
        """Yield, by bucket, the rows of silver of some patients as they will be."""
        new: defaultdict[int, dict[str, Row]] = defaultdict(dict)
        for key, row in rows.items():
            new[row[BUCKET]][key] = row
        names = {name for listed in buckets.values() for name in listed if name is not None}
        for chunk in iterate_buckets(self.lake, "silver", buckets):
            if not self.is_careful:
                # The facts of a row name its patients: most rows need not be read.
                pattern = "|".join(re.escape(f'"{name}"') for name in sorted(names)) or "$^"
                is_read = pc.match_substring_regex(chunk.column("facts"), pattern)
                if referrers:
                    named = pa.array(sorted(referrers), pa.string())
                    is_read = pc.or_kleene(is_read, pc.is_in(record_keys(chunk), named))
                chunk = chunk.filter(is_read)
            there: defaultdict[int, dict[str, Row]] = defaultdict(dict)
            for row in chunk.to_pylist():
                key = record_key(row["type"], row["id"])
                if key not in states:
                    there[row[BUCKET]][key] = row
            for place, listed in there.items():
                yield place, listed | new.pop(place, {})
        for place, listed in new.items():
            if place in buckets:
                yield place, listed

    def _read_steward_decisions(
        self, there: Mapping[str, Row], states: Mapping[str, ResourceState]
    ) -> dict[tuple[str, int], str]:
        """Return what stewards decided of new rows, and of those that have a fault."""
        others = {key for key, row in there.items() if row["faults"] and key not in states}
        decided = {key: states[key].decided for key in there if key in states}
        decided |= read_steward_decisions(self.lake, self.layout, others)
        return {
            (key, version): decision
            for key, listed in decided.items()
            for version, decision in listed.items()
        }

    def _drop_released_faults(
        self,
        faults: dict[str, list[Fault]],
        there: Mapping[str, Row],
        states: Mapping[str, ResourceState],
    ) -> None:
        """Drop faults of rows that had none, where a steward released them.

        Of a row without faults it is not known before that there was a decision.
        """
        new = {
            key
            for key, listed in faults.items()
            if listed and key not in states and not there[key]["faults"]
        }
        for key, decided in read_steward_decisions(self.lake, self.layout, new).items():
            if decided.get(there[key]["version"]) == "release":
                faults[key] = []

    # Shared records that come and go.

    def _find_arrivals(self, states: Mapping[str, ResourceState]) -> Arrivals:
        """Return the shared records that are there since this batch, or are there no more."""
        arrived, gone = set[str](), set[str]()
        for key, state in states.items():
            if not self.shared_targets.has_type(key) or state.current is None:
                continue
            was_there = state.before is not None and not state.before["deleted"]
            is_there = not state.current["deleted"]
            # After a crash what was before is not known.
            if self.is_careful or was_there != is_there:
                (arrived if is_there else gone).add(key)
        return Arrivals(frozenset(arrived), frozenset(gone))

    def _find_missing_targets(
        self,
        there: Mapping[str, Row],
        states: Mapping[str, ResourceState],
        referrers: Collection[str],
    ) -> set[str]:
        """Return the shared records that rows name and that will not be there.

        Of a row that is as it was, and names none that came or went, only a fault is doubtful.
        """
        targets = {
            target
            for key, row in there.items()
            if key in states or key in referrers or row["faults"] or self.is_careful
            for target in self.shared_targets.list_targets(row)
        }
        replaced = {target for target in targets if target in states}
        missing = self.shared_targets.find_missing(targets - replaced)
        for target in replaced:
            current = states[target].current
            if current is None or current["deleted"]:
                missing.add(target)
        return missing

    # Who shares an identity.

    def _build_identities(self, states: Mapping[str, ResourceState]) -> dict[str, list[Row]]:
        """Return patient -> rows of `identities`, of the Patients that the batch replaces."""
        return {
            str(state.current["id"]): build_identity_rows(self.layout, state.current)
            for state in states.values()
            if state.current is not None and state.current["type"] == "Patient"
        }

    def _find_doubtful_people(self, there: Mapping[str, Row]) -> set[str]:
        """Return the Patients of some rows who may be somebody else too."""
        return {
            row["id"]
            for row in there.values()
            if row["type"] == "Patient" and (self.is_careful or DUPLICATE_PERSON in row["faults"])
        }

    def _write_identities(self, identities: Mapping[str, list[Row]]) -> None:
        if identities:
            removed, rows = self.identity_index.build_replacement(identities)
            self._replace("identities", removed, rows, _key_column)

    # Decisions.

    def _write_decisions(self, changed: Mapping[str, PatientDecision]) -> None:
        removed = defaultdict(set)
        rows = []
        for patient, decision in changed.items():
            row = build_decision_row(self.layout, patient, decision, self.now_ms)
            removed[row[BUCKET]].add(patient)
            # Of somebody of whom nothing was ever told there is no row.
            if decision != PatientDecision():
                rows.append(row)
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
                        "elements": [],
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
        removed = self._group_keys_by_place({*states, *rows}, places, rows)
        self._replace("silver", removed, list(rows.values()), record_keys)

    def _write_deid_and_gold(
        self,
        states: Mapping[str, ResourceState],
        places: Mapping[str, set[int]],
        redone: Mapping[str, Row],
        decisions: Mapping[str, PatientDecision],
        people: KnownPeople,
    ) -> None:
        removed: defaultdict[int, set[str]] = defaultdict(set)
        removed_by_type: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(
            lambda: defaultdict(set)
        )
        rows = []
        for key in {*states, *redone}:
            resource_type, _, resource_id = key.partition("/")
            name = deid_key_text(self.key, resource_type, resource_id)
            for place in self._list_places(key, places, redone):
                removed[place].add(name)
                removed_by_type[resource_type][place].add(name)
            row = redone.get(key)
            scrubbed = None if row is None else self.scrubber.scrub(row, decisions, people)
            if scrubbed is not None:
                rows.append(scrubbed)
        records = pa.Table.from_pylist(rows, schema=TABLES["deid"].schema)
        # Gold follows even where deid is as it was: a crash may have come between the two.
        self._replace("deid", removed, records, lambda found: found.column("id"))
        present = (
            view for name, view in self.views.items() if gold_table_name(name) not in self.dropped
        )
        for view in present:
            of_type = _merge_buckets(removed_by_type, view.resources)
            if of_type:
                with drop_table_on_failure(self.lake, view, self.dropped):
                    if update_gold_table(self.lake, view, of_type, records):
                        self.written.add(gold_table_name(view.name))
        if self.omop is not None:
            merged = self._find_account_buckets(people)
            self.omop.apply(removed_by_type, records, merged, is_careful=self.is_careful)
            self.written |= self.omop.written

    def _find_account_buckets(self, people: KnownPeople) -> dict[str, set[int]]:
        """Return by pseudonym the buckets of all accounts of each person with several."""
        buckets: defaultdict[str, set[int]] = defaultdict(set)
        for patient, others in people.linked.items():
            person = deid_key_text(self.key, "Patient", people.people.find(patient).account)
            buckets[person] |= {
                self.layout.place(f"Patient/{account}") for account in (patient, *others)
            }
        return buckets

    def _write_places(
        self, rows: Mapping[str, Row], outdated: Iterable[Row], missing_places: Iterable[Row]
    ) -> None:
        removed = defaultdict(set)
        added = {}
        for place_row in outdated:
            removed[place_row[BUCKET]].add(place_row["key"])
        for place_row in missing_places:
            removed[place_row[BUCKET]].add(place_row["key"])
            added[place_row["key"]] = place_row
        for row in rows.values():
            for place_row in build_place_rows(self.layout, row):
                removed[place_row[BUCKET]].add(place_row["key"])
                added[place_row["key"]] = place_row
        self._replace("places", removed, list(added.values()), _key_column)

    def _group_keys_by_place(
        self, keys: Iterable[str], places: Mapping[str, set[int]], rows: Mapping[str, Row]
    ) -> defaultdict[int, set[str]]:
        """Return bucket -> the records that have, or are to have, their row of silver there."""
        by_place: defaultdict[int, set[str]] = defaultdict(set)
        for key in keys:
            for place in self._list_places(key, places, rows):
                by_place[place].add(key)
        return by_place

    @staticmethod
    def _list_places(key: str, places: Mapping[str, set[int]], rows: Mapping[str, Row]) -> set[int]:
        new = {int(rows[key]["bucket"])} if key in rows else set()
        return {*places.get(key, ()), *new}

    def _replace(
        self,
        name: str,
        removed: Mapping[int, Collection[str]],
        rows: list[Row] | pa.Table,
        key_of: KeyColumn,
    ) -> bool:
        schema = TABLES[name].schema
        added = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
        is_changed = delete_keys_and_add(self.lake, name, removed, added, key_of)
        if is_changed:
            self.written.add(name)
        return is_changed

    def _dataset(self, name: str) -> Any:
        return self.lake.open_table(name).to_pyarrow_dataset()

    def _read_rows(
        self,
        name: str,
        buckets: Iterable[int],
        keys: Collection[str],
        key_of: KeyColumn,
    ) -> Iterable[Row]:
        return read_rows(self.lake, name, buckets, keys, key_of)


def _group_by_patient(
    states: Mapping[str, ResourceState],
) -> dict[str | None, list[LinkedRecord]]:
    """Return patient -> the records of a batch that are or were theirs, as they were and are."""
    changed: defaultdict[str | None, list[LinkedRecord]] = defaultdict(list)
    for key, state in states.items():
        rows = [row for row in (state.before, state.current) if row is not None]
        for patient in {first_patient(row) for row in rows}:
            changed[patient] += [LinkedRecord(key, parse_row(row)) for row in rows]
    return changed


def _merge_buckets(
    by_type: Mapping[str, Mapping[int, set[str]]], types: Iterable[str]
) -> dict[int, set[str]]:
    """Return bucket -> keys of the records of some types."""
    merged: defaultdict[int, set[str]] = defaultdict(set)
    for name in types:
        for bucket, keys in by_type.get(name, {}).items():
            merged[bucket] |= keys
    return dict(merged)


def _key_column(table: pa.Table) -> Any:
    return table.column("key")


def _patient_column(table: pa.Table) -> Any:
    return table.column("patient")
