"""Quarantine: versions that break a quality rule wait here until a steward releases them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import TABLES, Lake, count_rows
from ehr_etl.tables.bucketed import append_rows
from ehr_fhir.errors import NotFound, Unprocessable

_LISTED_COLUMNS = ("position", "type", "id", "version", "last_updated", "reasons")


@dataclass(frozen=True)
class HeldVersion:
    """A version that waits; a line that is no record has a reason and nothing else."""

    position: int | None
    type: str | None
    id: str | None
    version: int | None
    last_updated: str | None
    reasons: tuple[str, ...]


def list_held_versions(lake: Lake) -> list[HeldVersion]:
    """Return what waits for a steward, in the order of the feed, without the records' content."""
    if not lake.has_table("quarantine"):
        return []
    # By column: the content of the records is not read.
    table = lake.open_table("quarantine").to_pyarrow_table(columns=list(_LISTED_COLUMNS))
    held = [
        HeldVersion(
            **{name: row[name] for name in _LISTED_COLUMNS[:5]}, reasons=tuple(row["reasons"])
        )
        for row in table.to_pylist()
    ]
    return sorted(held, key=lambda version: (version.position is None, version.position or 0))


def require_held(lake: Lake, position: int) -> HeldVersion:
    """Return the version that waits at a feed position; NotFound when none does."""
    for held in list_held_versions(lake):
        if held.position == position:
            return held
    raise NotFound(f"Nothing in quarantine waits at the feed position {position}.")


def release_version(lake: Lake, position: int) -> None:
    """Decide that the version at a feed position is good; the next run takes it into silver.

    The decision is kept and replayed when silver is made anew. A line that is not a record cannot
    be released.
    """
    held = require_held(lake, position)
    if held.type is None:
        raise Unprocessable("This line of the feed is not a record: there is nothing to release.")
    row = {"position": position, "decision": "release"}
    schema = TABLES["steward_decisions"].schema
    append_rows(lake, "steward_decisions", pa.Table.from_pylist([row], schema=schema))


def released_positions(lake: Lake) -> list[int]:
    """Return the feed positions that stewards released."""
    table = lake.open_table("steward_decisions").to_pyarrow_dataset()
    rows = table.to_table().to_pylist()
    return sorted(row["position"] for row in rows if row["decision"] == "release")


def pending_releases(lake: Lake) -> list[int]:
    """Return the positions of versions that a steward released and that still wait."""
    released = released_positions(lake)
    if not released:
        return []
    waiting = {held.position for held in list_held_versions(lake)}
    return [position for position in released if position in waiting]


def summarize_silver(lake: Lake) -> TableQuality:
    """Count, by quality rule, the held versions among all lines ever received."""
    received = count_rows(lake, "silver_history") + count_rows(lake, "quarantine")
    held: Mapping[str, int] = Counter(
        reason for version in list_held_versions(lake) for reason in version.reasons
    )
    names = [rule.name for rule in load_quality_rules().rules]
    # Faults of the feed's own lines have no rule.
    names += sorted(held.keys() - set(names))
    results = tuple(
        ExpectationResult(name, name not in held, received, held.get(name, 0)) for name in names
    )
    return TableQuality("silver", count_rows(lake, "silver"), results)
