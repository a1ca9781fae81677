"""Silver, its history, quarantine, decisions and places, made anew from all lines of bronze.

Five steps, each one function of a part, on however many processes (`ehr_etl.jobs`):

1. The lines of a stretch of bronze are parsed and checked, and sent to the part of their record.
2. Where all lines of a record or patient are together, the newest good version is found.
3. Where all who share an identity are together, people who may be one are found.
4. Where all who name a shared record are together with it, it is found whether it is there.
5. Rows of silver, sent to the part of their bucket, get their faults and are written.

What results is what batches of changes give (`batch`), row by row; a test holds the two against
each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction

from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_etl.jobs import RunParts, cut_into_parts
from ehr_etl.lake import BUCKET, TABLES, VERSION_COLUMNS, Lake
from ehr_etl.rebuild.missing_targets import NAMES_SCHEMA, find_shared_names, list_missing_names
from ehr_etl.rebuild.scratch import clear_scratch, read_part, send_to_parts
from ehr_etl.tables.bronze import read_lines
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.files import replace_table, write_bucket_files, write_file
from ehr_etl.tables.identities import build_identity_rows, find_duplicate_people
from ehr_etl.tables.lines import LINE_SCHEMA, parse_lines
from ehr_etl.tables.linking import build_finding_row, find_row_faults
from ehr_etl.tables.places import build_missing_place, record_key, record_keys
from ehr_etl.tables.quarantine import read_all_steward_decisions
from ehr_etl.tables.silver import SilverReport

__all__ = ["SILVER_TABLES", "rebuild_silver"]

# What is made from bronze and the stewards' decisions, together; `places` last.
SILVER_TABLES = (
    *("silver", "silver_history", "quarantine", "decisions", "findings", "identities", "places"),
)

# Lines parsed at once, and buckets of one part: some dozens of MB each. Chosen.
_STRETCH_LINES = 10_000
_PART_BUCKETS = 16
# A part's lines may be many where a patient has very many: as much memory as it needs, one thread.
_LIMITS = QueryLimits(memory_mb=4096, threads=1)

_VERSION = ", ".join((*VERSION_COLUMNS, "deleted"))
# The newest good version (`g`), with the facts told last of just that version, and whether a newer
# one waits; the version that waits (`w`).
_NEWEST = (
    "SELECT * FROM line WHERE kind = 'version' AND holds = {holds} QUALIFY"
    " row_number() OVER (PARTITION BY type, id ORDER BY version DESC, sequence DESC) = 1"
)
_FACTS = (
    "SELECT type, id, version, facts, place, also FROM line WHERE kind IN ('version', 'facts')"
    " QUALIFY row_number() OVER (PARTITION BY type, id, version ORDER BY sequence DESC) = 1"
)
_WITH = (
    f"WITH good AS ({_NEWEST.format(holds='false')}), bad AS ({_NEWEST.format(holds='true')}),"
    f" told AS ({_FACTS}) "
)
_SILVER = (
    f"{_WITH} SELECT coalesce(f.place, g.own_bucket) AS bucket,"  # noqa: S608 - no input in it
    f" {', '.join(f'g.{name}' for name in _VERSION.split(', '))},"
    " coalesce(w.version > g.version, false) AS held, []::VARCHAR[] AS faults, f.facts, g.resource,"
    " g.own_bucket, f.also"
    " FROM good g LEFT JOIN bad w ON w.type = g.type AND w.id = g.id"
    " LEFT JOIN told f ON f.type = g.type AND f.id = g.id AND f.version = g.version"
)
_QUARANTINE = (
    f"{_WITH} SELECT w.own_bucket AS bucket, concat(w.type, '/', w.id) AS key,"  # noqa: S608
    f" {', '.join(f'w.{name}' for name in _VERSION.split(', '))},"
    " f.facts, w.reasons, w.elements, w.resource"
    " FROM bad w LEFT JOIN good g ON w.type = g.type AND w.id = g.id"
    " LEFT JOIN told f ON f.type = w.type AND f.id = w.id AND f.version = w.version"
    " WHERE g.id IS NULL OR w.version > g.version"
    " UNION ALL SELECT first(own_bucket), key, first(position), NULL, NULL, NULL, NULL, NULL,"
    " false, NULL, first(reasons), first(elements), first(resource) FROM line"
    " WHERE kind = 'fault' GROUP BY key"
)
_DECISIONS = (
    f"{_WITH} SELECT coalesce(t.own_bucket, p.own_bucket) AS bucket,"  # noqa: S608
    " coalesce(t.id, p.id) AS patient,"
    " CASE WHEN t.id IS NULL THEN '[]' ELSE t.rules END AS rules,"
    " p.id IS NOT NULL AS gone, t.changes_ms FROM"
    " (SELECT * FROM line WHERE kind = 'rules' QUALIFY"
    " row_number() OVER (PARTITION BY id ORDER BY sequence DESC) = 1) t FULL OUTER JOIN"
    " (SELECT * FROM good WHERE type = 'Patient' AND deleted) p ON p.id = t.id"
    # Of somebody of whom nothing was ever told there is no row.
    " WHERE p.id IS NOT NULL OR t.rules IS NULL OR t.rules <> '[]'"
)
_HISTORY = f"SELECT {_VERSION}, resource FROM line WHERE kind = 'version' AND NOT holds"  # noqa: S608
_COUNTS = (
    "SELECT author, reasons, holds, late, count(*) AS number FROM line"
    " WHERE kind IN ('version', 'fault') GROUP BY author, reasons, holds, late"
)
# What step 2 sends to step 5: rows of silver, and rows of places of other patients.
_PLACES = TABLES["places"].schema
# Rows of identities with the bucket of their Patient, and who may be somebody else, in that bucket.
_SHARED = TABLES["identities"].schema.append(pa.field("home", pa.int32()))
_PEOPLE = pa.schema([(BUCKET, pa.int32()), ("patient", pa.string()), ("other", pa.string())])


@dataclass(frozen=True)
class _Job:
    """What every part of a rebuild needs to know."""

    lake: Lake
    layout: Layout
    parts: tuple[tuple[int, ...], ...]
    # What stewards decided of a version of a record.
    decided: Mapping[tuple[str, int], str]
    now_ms: int

    def part_of(self, buckets: pa.ChunkedArray) -> pa.Array:
        """Return the part that each bucket is in; parts are stretches of the same length."""
        return pc.divide(buckets.combine_chunks(), pa.scalar(len(self.parts[0]), pa.int32()))


@dataclass(frozen=True)
class _Count:
    """How many versions of an author broke the same rules, and were held or late or neither."""

    author: str | None
    reasons: tuple[str, ...]
    is_held: bool
    is_late: bool
    number: int


@dataclass
class _PartResult:
    """The files that a part wrote, by table, and what it counted."""

    files: dict[str, list[AddAction]] = field(default_factory=dict)
    counts: list[_Count] = field(default_factory=list)


def rebuild_silver(
    run: RunParts, slots: int, lake: Lake, layout: Layout, *, up_to: int, now_ms: int
) -> SilverReport:
    """Make silver, its history, quarantine, decisions and places from all lines up to one."""
    clear_scratch(lake)
    parts = cut_into_parts(layout.buckets, slots, _PART_BUCKETS)
    job = _Job(lake, layout, tuple(parts), read_all_steward_decisions(lake), now_ms)
    # No longer than a slot's share, so that all have work.
    stretch = max(1000, min(_STRETCH_LINES, -(-up_to // slots)))
    stretches = [(after, min(after + stretch, up_to)) for after in range(0, up_to, stretch)]
    numbers = range(len(parts))
    for _ in run(partial(_send_lines, job), stretches):
        pass
    files: defaultdict[str, list[AddAction]] = defaultdict(list)
    report = SilverReport()
    for work in (_select_versions, _find_duplicates, _find_missing_targets, _write_silver_part):
        for written in run(partial(work, job), numbers):
            for name, actions in written.files.items():
                files[name] += actions
            for count in written.counts:
                report.count(
                    count.reasons,
                    is_held=count.is_held,
                    number=count.number,
                    author=count.author,
                    is_late=count.is_late,
                )
    for name in SILVER_TABLES:
        spec = TABLES[name]
        replace_table(lake, name, spec.schema, files[name], spec.partitioned_by)
    clear_scratch(lake)
    return report


def _send_lines(job: _Job, stretch: tuple[int, int]) -> None:
    """Parse and check the lines of a stretch, and send each to the part of its record."""
    after, up_to = stretch
    numbered = list(read_lines(job.lake, after, up_to))
    if numbered:
        rows = parse_lines(numbered, job.layout, load_quality_rules(), job.decided, job.now_ms)
        send_to_parts(job.lake, "lines", rows, job.part_of(rows.column("own_bucket")))


def _select_versions(job: _Job, number: int) -> _PartResult:
    """Find the newest good version of each record of a part, and what waits or is decided."""
    lines = read_part(job.lake, "lines", number, LINE_SCHEMA)
    tables: dict[str, pa.Table] = {}
    with open_duckdb(_LIMITS) as connection:
        connection.register("line", lines)
        for name, sql in (
            ("silver", _SILVER), ("quarantine", _QUARANTINE), ("decisions", _DECISIONS),
            ("silver_history", _HISTORY), ("counts", _COUNTS),
        ):  # fmt: skip
            tables[name] = fetch(connection, sql, _LIMITS)
    silver = tables["silver"]
    places = pa.Table.from_arrays(
        [
            silver.column("own_bucket"),
            record_keys(silver),
            silver.column("bucket"),
        ],
        names=_PLACES.names,
    ).cast(_PLACES)
    _send_rows(job, "silver", silver.select(TABLES["silver"].schema.names))
    _send_shared_names(job, silver)
    _send_identities(job, silver.filter(pc.equal(silver.column("type"), "Patient")).to_pylist())
    others = pc.list_flatten(silver.column("also").combine_chunks())
    _send_rows(job, "places", pa.Table.from_struct_array(others) if len(others) else None)
    lake = job.lake
    history = _cast_rows("silver_history", tables["silver_history"]).sort_by("position")
    return _PartResult(
        files={
            "places": write_bucket_files(lake, "places", places),
            "silver_history": write_file(lake, "silver_history", history),
            **{
                name: write_bucket_files(lake, name, _cast_rows(name, tables[name]))
                for name in ("quarantine", "decisions")
            },
        },
        counts=[
            _Count(
                row["author"],
                tuple(row["reasons"]),
                bool(row["holds"]),
                bool(row["late"]),
                int(row["number"]),
            )
            for row in tables["counts"].to_pylist()
        ],
    )


def _send_identities(job: _Job, patients: Sequence[Mapping[str, Any]]) -> None:
    """Send the rows of identities of some Patients to the parts of their hashes."""
    rows = [
        {**identity, "home": patient[BUCKET]}
        for patient in patients
        for identity in build_identity_rows(job.layout, patient)
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=_SHARED)
        send_to_parts(job.lake, "identities", table, job.part_of(table.column(BUCKET)))


def _find_duplicates(job: _Job, number: int) -> _PartResult:
    """Write the identities of a part; send who may be somebody else to where their records are."""
    shared = read_part(job.lake, "identities", number, _SHARED)
    rows = shared.to_pylist()
    homes = {row["patient"]: row["home"] for row in rows}
    people = [
        {BUCKET: homes[patient], "patient": patient, "other": other}
        for patient, other in find_duplicate_people(rows).items()
    ]
    if people:
        table = pa.Table.from_pylist(people, schema=_PEOPLE)
        send_to_parts(job.lake, "people", table, job.part_of(table.column(BUCKET)))
    identities = _cast_rows("identities", shared)
    return _PartResult({"identities": write_bucket_files(job.lake, "identities", identities)})


def _send_shared_names(job: _Job, silver: pa.Table) -> None:
    """Send to the part of each shared record that it is there, and in which buckets it is named."""
    names = find_shared_names(silver, job.layout, load_quality_rules())
    if names.num_rows:
        send_to_parts(job.lake, "shared", names, job.part_of(names.column(BUCKET)))


def _find_missing_targets(job: _Job, number: int) -> _PartResult:
    """Tell where shared records of a part are named that are not there."""
    names = read_part(job.lake, "shared", number, NAMES_SCHEMA)
    missing = list_missing_names(names)
    if missing.num_rows:
        send_to_parts(job.lake, "missing", missing, job.part_of(missing.column("home")))
        rows = [
            build_missing_place(job.layout, row["target"], row["home"])
            for row in missing.to_pylist()
        ]
        _send_rows(job, "places", pa.Table.from_pylist(rows, schema=_PLACES))
    return _PartResult()


def _send_rows(job: _Job, name: str, rows: pa.Table | None) -> None:
    if rows is not None and rows.num_rows:
        cast = _cast_rows(name, rows)
        send_to_parts(job.lake, name, cast, job.part_of(cast.column(BUCKET)))


def _write_silver_part(job: _Job, number: int) -> _PartResult:
    """Write the rows of silver with their faults, and places of other patients, of a part."""
    silver, findings = _find_faults_of_part(job, number)
    places = read_part(job.lake, "places", number, _PLACES)
    # Several records tell the same of a patient.
    distinct = places.group_by(_PLACES.names).aggregate([]).select(_PLACES.names)
    files: Mapping[str, list[AddAction]] = {
        "silver": write_bucket_files(job.lake, "silver", silver),
        "findings": write_bucket_files(job.lake, "findings", findings),
        "places": write_bucket_files(job.lake, "places", distinct),
    }
    return _PartResult(dict(files))


def _find_faults_of_part(job: _Job, number: int) -> tuple[pa.Table, pa.Table]:
    """Return the rows of silver of a part with their faults, and the rows of findings."""
    silver = read_part(job.lake, "silver", number, TABLES["silver"].schema)
    people: dict[str, str] = {}
    # Whom one shares different things with come from different parts: the first of them counts.
    for row in read_part(job.lake, "people", number, _PEOPLE).to_pylist():
        known = people.get(row["patient"])
        people[row["patient"]] = min(known or row["other"], row["other"])
    rows = silver.to_pylist()
    by_bucket: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_bucket[row[BUCKET]].append(row)
    findings = []
    rules = load_quality_rules()
    names = read_part(job.lake, "missing", number, NAMES_SCHEMA)
    missing = set(names.column("target").to_pylist())
    for listed in by_bucket.values():
        faults = find_row_faults(listed, rules, decided=job.decided, people=people, missing=missing)
        for row in listed:
            row_faults = faults[record_key(row["type"], row["id"])]
            row["faults"] = [fault.rule for fault in row_faults]
            if row_faults:
                findings.append(build_finding_row(row, row_faults))
    return (
        pa.Table.from_pylist(rows, schema=TABLES["silver"].schema),
        pa.Table.from_pylist(findings, schema=TABLES["findings"].schema),
    )


def _cast_rows(name: str, rows: pa.Table) -> pa.Table:
    schema = TABLES[name].schema
    return rows.select(schema.names).cast(schema)
