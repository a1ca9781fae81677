"""Lineage in the log: refreshes of the lake, steps of research, decisions about models as leaves.

The id of a leaf is the digest of its record, so a record that is told again, after a kill between
the log's commit and the teller's note of it, is there already and adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.database import Connection, Database
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import (
    LAKE_REFRESH,
    MODEL_DECISION,
    RESEARCH_STEP,
    canonical_json,
    lineage_id,
)

__all__ = [
    "LineageLeaf",
    "LineageSource",
    "find_leaf",
    "list_model_decisions",
    "list_refreshes_after",
    "list_steps",
    "record_lineage",
    "record_new_lineage",
]

# Rows of the log that are looked through for refreshes after one: at a thousand events a second
# those of some minutes. Chosen.
_MOST_ROWS = 200_000
_SELECT = f"SELECT seq, salt, {', '.join(CONTENT_COLUMNS)} FROM audit"  # noqa: S608 constant columns


class LineageSource(Protocol):
    """Steps that are kept elsewhere and become leaves of the log."""

    def read_new(self) -> Sequence[Mapping[str, Any]]:
        """Return the records that were not recorded yet, oldest first."""

    def mark_recorded(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep that these are in the log."""


@dataclass(frozen=True)
class LineageLeaf:
    """A leaf with a record: its index, its salt, and the row in the order of CONTENT_COLUMNS."""

    index: int
    salt: bytes
    row: tuple[str | int | None, ...]

    @property
    def id(self) -> str:
        """The public id of the event."""
        return str(self.row[0])

    @property
    def record(self) -> dict[str, Any]:
        """What the leaf says."""
        record: dict[str, Any] = json.loads(str(self.row[CONTENT_COLUMNS.index("query")]))
        return record


def record_lineage(
    connection: Connection,
    audit_context: recorder.AuditContext,
    records: Iterable[Mapping[str, Any]],
) -> int:
    """Append the records that the log does not have yet; return how many those are.

    In the caller's transaction.
    """
    if connection.dialect == "postgresql":
        # Whoever tells the same at the same time waits here, and then finds it.
        connection.execute("SELECT size FROM audit_head WHERE one = 1 FOR UPDATE")
    rows = []
    for record in records:
        event = lineage_id(record)
        if connection.execute("SELECT 1 FROM audit WHERE id = ?", (event,)).fetchone():
            continue
        context = replace(
            audit_context, interaction=record["kind"], query=canonical_json(record).decode()
        )
        row = recorder.build_event_rows(context, None)[0]
        rows.append((event, *row[1:]))
    append_rows(connection, seal_rows(rows))
    return len(rows)


def record_new_lineage(
    database: Database,
    source: LineageSource,
    clock: Callable[[], int],
    *,
    program: str = "research",
) -> int:
    """Append what a source has not told the log yet; return how many records were new to it.

    `program` is that of the platform's whose records they are.
    """
    records = source.read_new()
    if not records:
        return 0
    context = recorder.build_platform_context(program, RESEARCH_STEP, clock())
    with database.write_transaction() as connection:
        count = record_lineage(connection, context, records)
    source.mark_recorded(records)
    return count


def find_leaf(connection: Connection, event: str) -> LineageLeaf | None:
    """Return the leaf of a record by its id; None where the log has no such record."""
    row = connection.execute(f"{_SELECT} WHERE id = ?", (event,)).fetchone()
    if row is None or row["interaction"] not in (LAKE_REFRESH, RESEARCH_STEP) or not row["query"]:
        return None
    return _to_leaf(row)


def list_steps(connection: Connection) -> list[LineageLeaf]:
    """Return the leaves of all steps of research, in their order in the log."""
    # By the index of log-ins: the platform's own events are few.
    rows = connection.execute(
        f"{_SELECT} WHERE login = ? AND interaction = ? ORDER BY seq",
        (recorder.PLATFORM_LOGIN, RESEARCH_STEP),
    )
    return [_to_leaf(row) for row in rows]


def list_model_decisions(connection: Connection) -> list[LineageLeaf]:
    """Return the leaves of all decisions about models, in their order in the log."""
    # As a constant, so that the index of just these rows is used.
    rows = connection.execute(
        f"{_SELECT} WHERE interaction = '{MODEL_DECISION}' AND login = ? ORDER BY seq",
        (recorder.PLATFORM_LOGIN,),
    )
    return [_to_leaf(row) for row in rows]


def list_refreshes_after(connection: Connection, index: int, most: int = 50) -> list[LineageLeaf]:
    """Return the next refreshes after a leaf, in their order in the log."""
    rows = connection.execute(
        f"{_SELECT} WHERE seq > ? AND seq <= ? AND interaction = ? ORDER BY seq LIMIT ?",
        (index + 1, index + 1 + _MOST_ROWS, LAKE_REFRESH, most),
    )
    return [_to_leaf(row) for row in rows]


def _to_leaf(row: Any) -> LineageLeaf:  # Any: a row of either database
    values = tuple(row[name] for name in CONTENT_COLUMNS)
    return LineageLeaf(row["seq"] - 1, bytes(row["salt"]), values)
