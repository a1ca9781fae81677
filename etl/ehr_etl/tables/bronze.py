"""Bronze: every line of the change feed, exactly as received, each position once.

A page is appended in one commit that also tells how far the feed is read, so a crash can only make
a page be asked for again. Nothing is judged here: the other tables can be made again from bronze.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.change_feed.entries import parse_line, read_place
from ehr_etl.change_feed.epoch import FeedEpoch, load_epoch, rebuild_hint, save_epoch
from ehr_etl.data_quality.measure_reports import is_own_report
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import append_rows
from ehr_fhir.errors import Conflict, Fault

__all__ = [
    "EpochFeed",
    "FeedCursor",
    "FeedSource",
    "read_decision_lines",
    "read_erasures",
    "read_lines",
    "stored_cursor",
    "take_in_feed",
]


class FeedSource(Protocol):
    """A source of changes, such as the gateway."""

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield pages of NDJSON: what comes after a position and a number of a decision, in order.

        Pages end when there is nothing more.
        """
        ...


@runtime_checkable
class EpochFeed(Protocol):
    """A source that names the epoch of its store, and holds a place against it."""

    def open_epoch(self, after: int, decisions: int, epoch: str) -> FeedEpoch | None:
        """Return the present epoch; Conflict when a place in an epoch is not of its past."""
        ...

    def at_epoch(self, epoch: str) -> FeedSource:
        """Return the same source, whose pages are of that epoch or refused."""
        ...


@dataclass(frozen=True)
class FeedCursor:
    """How far the feed is read, and how many lines were taken in."""

    position: int = 0
    decision: int = 0
    sequence: int = 0


def stored_cursor(lake: Lake) -> FeedCursor:
    """Return how far the feed is read, as bronze's own log tells."""
    table = lake.open_table("bronze")
    return FeedCursor(
        *(table.transaction_version(name) or 0 for name in ("position", "decision", "sequence"))
    )


def take_in_feed(feed: FeedSource, lake: Lake, cursor: FeedCursor) -> FeedCursor:
    """Append what comes after a place of the feed to bronze; return how far it is read then."""
    feed = _enter_epoch(feed, lake, cursor)
    for page in feed.pages(cursor.position, cursor.decision):
        lines, cursor = _select_new_lines(page, cursor)
        if lines:
            cursor = replace(cursor, sequence=cursor.sequence + len(lines))
            _append_lines(lake, lines, cursor)
    return cursor


def read_lines(lake: Lake, after: int, up_to: int) -> Iterator[tuple[int, str]]:
    """Yield the lines after a sequence number up to another, in order."""
    if up_to <= after:
        return
    table = lake.open_table("bronze").to_pyarrow_dataset()
    condition = (pc.field("sequence") > after) & (pc.field("sequence") <= up_to)
    rows = table.to_table(columns=["sequence", "line"], filter=condition).sort_by("sequence")
    yield from zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True)


def read_decision_lines(lake: Lake, after: int, up_to: int) -> list[str]:
    """Return the lines about decisions after a sequence number up to another, in order."""
    if up_to <= after:
        return []
    table = lake.open_table("bronze").to_pyarrow_dataset()
    condition = (
        (pc.field("sequence") > after)
        & (pc.field("sequence") <= up_to)
        & pc.field("decision").is_valid()
    )
    rows = table.to_table(columns=["sequence", "line"], filter=condition).sort_by("sequence")
    return [str(line) for line in rows.column("line").to_pylist()]


def read_erasures(lake: Lake, after: int, up_to: int) -> list[str]:
    """Return whom the lines after a sequence number tell to erase, by keyed hashes."""
    texts = read_decision_lines(lake, after, up_to)
    lines = (parse_line(text) for text in texts if '"erased"' in text)
    return [str(line.id) for line in lines if line.kind == "erasure"]


def _enter_epoch(feed: FeedSource, lake: Lake, cursor: FeedCursor) -> FeedSource:
    """Return the feed in its present epoch; Conflict when the lake is no part of its past."""
    if not isinstance(feed, EpochFeed):
        return feed
    known = load_epoch(lake)
    has_read = cursor.position > 0 or cursor.decision > 0
    try:
        present = feed.open_epoch(
            cursor.position, cursor.decision, known.epoch if known and has_read else ""
        )
    except Conflict as error:
        raise Conflict(f"{error} {rebuild_hint(lake)}") from error
    if present is None:
        return feed
    if known is not None and has_read:
        known.check_same_store(present, lake)
    if present != known:
        save_epoch(lake, present)
    return feed.at_epoch(present.epoch)


@dataclass(frozen=True)
class _Line:
    position: int | None
    decision: int | None
    text: bytes


def _select_new_lines(page: bytes, cursor: FeedCursor) -> tuple[list[_Line], FeedCursor]:
    """Drop lines taken in before and the lake's own reports; return the rest, and the new place.

    An unreadable line is kept for the quarantine. It has no place, so it counts as new when the
    readable line before it (at the start of a page: the one after it) is new.
    """
    lines = [_Line(*read_place(line), line) for line in page.split(b"\n") if line.strip()]
    readable = [line for line in lines if (line.position, line.decision) != (None, None)]
    if lines and not readable:
        # Without one place the page has no place in the order.
        raise Fault("A page of the feed has no line with a position: nothing was taken in.")
    new_lines: list[_Line] = []
    is_new = bool(readable) and _is_after(readable[0], cursor)
    for line in lines:
        if (line.position, line.decision) != (None, None):
            is_new = _is_after(line, cursor)
            cursor = replace(
                cursor,
                position=max(cursor.position, line.position or 0),
                decision=max(cursor.decision, line.decision or 0),
            )
        if is_new and not _is_own(line):
            new_lines.append(line)
    return new_lines, cursor


def _is_after(line: _Line, cursor: FeedCursor) -> bool:
    if line.position is not None:
        return line.position > cursor.position
    return line.decision is not None and line.decision > cursor.decision


def _is_own(line: _Line) -> bool:
    return b'"MeasureReport"' in line.text and is_own_report(orjson.loads(line.text))


def _append_lines(lake: Lake, lines: list[_Line], cursor: FeedCursor) -> None:
    first = cursor.sequence - len(lines) + 1
    rows = [
        {
            "sequence": sequence,
            "position": line.position,
            "decision": line.decision,
            "line": line.text.decode("utf-8", "replace"),
        }
        for sequence, line in enumerate(lines, first)
    ]
    append_rows(
        lake,
        "bronze",
        pa.Table.from_pylist(rows, schema=TABLES["bronze"].schema),
        {"position": cursor.position, "decision": cursor.decision, "sequence": cursor.sequence},
    )
