"""Landing: pages of the change feed become files, each whole and each position once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import orjson

from ehr_etl.change_feed.epoch import FeedEpoch, load_epoch, rebuild_hint, save_epoch
from ehr_etl.change_feed.ndjson import split_lines
from ehr_etl.lake import Lake
from ehr_fhir.errors import Conflict, Fault


class FeedSource(Protocol):
    """A source of changes, such as the gateway."""

    def pages(self, after: int) -> Iterator[bytes]:
        """Yield pages of NDJSON lines with positions greater than `after`, in order."""
        ...


@runtime_checkable
class EpochFeed(Protocol):
    """A source that names the epoch of its store, and holds a position against it."""

    def open_epoch(self, after: int, epoch: str) -> FeedEpoch | None:
        """Return the present epoch; Conflict when a position of an epoch is not of its past."""
        ...

    def at_epoch(self, epoch: str) -> FeedSource:
        """Return the same source, whose pages are of that epoch or refused."""
        ...


@dataclass(frozen=True)
class LandingReport:
    """How many lines one pull landed, and the greatest position landed by then."""

    lines: int
    last_position: int


def pull_feed(feed: FeedSource, lake: Lake) -> LandingReport:
    """Land every new page of the feed; resume after the last landed position."""
    lake.landing_folder.mkdir(parents=True, exist_ok=True)
    last = last_landed_position(lake)
    count = 0
    feed = _enter_epoch(feed, lake, last)
    for page in feed.pages(last):
        lines, page_end = _select_new_lines(page, last)
        if lines:
            _write_landing_file(lake, last + 1, page_end, lines)
            count += len(lines)
            last = page_end
    return LandingReport(count, last)


def last_landed_position(lake: Lake) -> int:
    """Return the greatest position that was landed, 0 at the start."""
    names = [file.stem for file in lake.landing_folder.glob("*-*.ndjson")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def _enter_epoch(feed: FeedSource, lake: Lake, last: int) -> FeedSource:
    """Return the feed in its present epoch; Conflict when the lake is no part of its past."""
    if not isinstance(feed, EpochFeed):
        return feed
    landed_epoch = load_epoch(lake)
    try:
        present = feed.open_epoch(last, landed_epoch.epoch if landed_epoch and last else "")
    except Conflict as error:
        raise Conflict(f"{error} {rebuild_hint(lake)}") from error
    if present is None:
        return feed
    if landed_epoch is not None and last:
        landed_epoch.check_same_store(present, lake)
    if present != landed_epoch:
        save_epoch(lake, present)
    return feed.at_epoch(present.epoch)


def _select_new_lines(page: bytes, last: int) -> tuple[list[bytes], int]:
    """Drop blank lines and those landed before; return the rest and their greatest position.

    An unreadable line is kept for the quarantine. It has no position, so it counts as new when
    the readable line before it (at the start of a page: the one after it) is new.
    """
    lines = split_lines(page)
    positions = [_read_position(line) for line in lines]
    readable = [position for position in positions if position is not None]
    if lines and not readable:
        # Without one readable position the page has no place in the order.
        raise Fault("A page of the feed has no line with a position: nothing was landed.")
    new_lines: list[bytes] = []
    page_end, is_new = last, bool(readable) and readable[0] > last
    for line, position in zip(lines, positions, strict=True):
        if position is not None:
            is_new = position > page_end
            page_end = max(page_end, position)
        if is_new:
            new_lines.append(line)
    return new_lines, page_end


def _read_position(line: bytes) -> int | None:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    position = entry.get("position") if isinstance(entry, dict) else None
    return position if isinstance(position, int) and not isinstance(position, bool) else None


def _write_landing_file(lake: Lake, first: int, last: int, lines: list[bytes]) -> None:
    """Write under another name, flush to disk, then rename: a landed file is whole."""
    target = lake.landing_folder / f"{first:015d}-{last:015d}.ndjson"
    # The stream of bronze reads *.ndjson alone, so it never sees half a file.
    partial = target.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(b"\n".join(lines) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    partial.rename(target)
