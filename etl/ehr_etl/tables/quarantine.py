"""Quarantine: versions that break a quality rule wait here until a steward decides.

What a steward decided is told by the gateway's feed (`steward_decisions`), so a rebuild decides as
the first run did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from deltalake import write_deltalake

from ehr_etl.change_feed.entries import FeedLine
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import BUCKET, TABLES, VERSION_COLUMNS, Lake, count_rows
from ehr_etl.tables.bucketed import Layout, delete_keys_and_add, read_rows
from ehr_etl.tables.places import record_key

__all__ = [
    "HeldVersion",
    "clear_steward_decisions",
    "list_findings",
    "list_held_versions",
    "read_all_steward_decisions",
    "read_steward_decisions",
    "summarize_silver",
    "write_steward_decisions",
]

_LISTED_COLUMNS = [*VERSION_COLUMNS, "reasons", "elements"]


@dataclass(frozen=True)
class HeldVersion:
    """A version with faults; a line that is no record has a reason and nothing else."""

    position: int | None
    type: str | None
    id: str | None
    version: int | None
    last_updated: str | None
    author: str | None
    reasons: tuple[str, ...]
    elements: tuple[str, ...]


def list_held_versions(lake: Lake) -> list[HeldVersion]:
    """Return what waits for a steward, in the order of the feed, without the records' content."""
    return _list_versions(lake, "quarantine")


def list_findings(lake: Lake) -> list[HeldVersion]:
    """Return the versions in silver that have a fault, without the records' content."""
    return _list_versions(lake, "findings")


def read_steward_decisions(
    lake: Lake, layout: Layout, keys: Collection[str]
) -> dict[str, dict[int, str]]:
    """Return record -> version -> what a steward decided, of those of some records."""
    decisions: defaultdict[str, dict[int, str]] = defaultdict(dict)
    buckets = {layout.place(key) for key in keys}
    rows = read_rows(lake, "steward_decisions", buckets, keys, lambda table: table.column("key"))
    for row in rows:
        decisions[row["key"]][row["version"]] = row["decision"]
    return dict(decisions)


def read_all_steward_decisions(lake: Lake) -> dict[tuple[str, int], str]:
    """Return (record, version) -> what a steward decided, of all: as many as people decided."""
    rows = lake.open_table("steward_decisions").to_pyarrow_table().to_pylist()
    return {(row["key"], row["version"]): row["decision"] for row in rows}


def write_steward_decisions(
    lake: Lake, layout: Layout, lines: Iterable[FeedLine]
) -> frozenset[str]:
    """Keep what lines of the feed say that stewards decided; return of which records.

    A line says all that was decided about its record, so the last one counts.
    """
    latest = {
        record_key(line.type, line.id): line.decided for line in lines if line.kind == "quality"
    }
    if not latest:
        return frozenset()
    removed = defaultdict(set)
    rows = []
    for key, decided in latest.items():
        bucket = layout.place(key)
        removed[bucket].add(key)
        rows += [
            {BUCKET: bucket, "key": key, "version": version, "decision": decision}
            for version, decision in decided
        ]
    schema = TABLES["steward_decisions"].schema
    added = pa.Table.from_pylist(rows, schema=schema)
    delete_keys_and_add(
        lake, "steward_decisions", removed, added, lambda found: found.column("key")
    )
    return frozenset(latest)


def clear_steward_decisions(lake: Lake) -> None:
    """Empty the table, before it is made anew of all lines: its buckets may be others."""
    write_deltalake(
        lake.open_table("steward_decisions"),
        TABLES["steward_decisions"].schema.empty_table(),
        mode="overwrite",
    )


def summarize_silver(lake: Lake) -> TableQuality:
    """Count, by quality rule, the versions at fault among all lines ever received."""
    received = count_rows(lake, "silver_history") + count_rows(lake, "quarantine")
    at_fault: Mapping[str, int] = Counter(
        reason
        for version in (*list_held_versions(lake), *list_findings(lake))
        for reason in version.reasons
    )
    names = [rule.name for rule in load_quality_rules().rules if rule.severity != "information"]
    # Faults of the feed's own lines have no rule.
    names += sorted(at_fault.keys() - set(names))
    results = tuple(
        ExpectationResult(name, name not in at_fault, received, at_fault.get(name, 0))
        for name in names
    )
    return TableQuality("silver", count_rows(lake, "silver"), results)


def _list_versions(lake: Lake, name: str) -> list[HeldVersion]:
    if not lake.has_table(name):
        return []
    # By column: the content of the records is not read.
    table = lake.open_table(name).to_pyarrow_table(columns=_LISTED_COLUMNS)
    held = [
        HeldVersion(
            **{
                **row,
                "reasons": tuple(row["reasons"]),
                "elements": tuple(row["elements"] or ()),
            }
        )
        for row in table.to_pylist()
    ]
    return sorted(held, key=lambda version: (version.position is None, version.position or 0))
