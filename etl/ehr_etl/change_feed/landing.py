"""The change feed as the lake takes it in: whole pages, landed as files, each position once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import httpx
import orjson

from ehr_etl.change_feed.epoch import FeedEpoch, load_epoch, rebuild_hint, save_epoch
from ehr_etl.lake import Lake
from ehr_fhir.errors import Conflict, Fault, Forbidden, Unauthorized, Unavailable

PAGE_LINES = 5000


class FeedSource(Protocol):
    """Where changes come from."""

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
class HttpFeed:
    """The gateway's feed over HTTP."""

    client: httpx.Client
    token: str
    limit: int = PAGE_LINES
    # What the positions asked after belong to; empty where that is not known.
    epoch: str = ""

    def open_epoch(self, after: int, epoch: str) -> FeedEpoch | None:
        """Return the present epoch; Conflict when a position of an epoch is not of its past."""
        return FeedEpoch.from_headers(replace(self, epoch=epoch, limit=1)._get(after).headers)

    def at_epoch(self, epoch: str) -> HttpFeed:
        """Return the same feed, whose pages are of that epoch or refused."""
        return replace(self, epoch=epoch)

    def pages(self, after: int) -> Iterator[bytes]:
        """Yield the gateway's pages until it has nothing new."""
        while True:
            answer = self._get(after)
            if not answer.content.strip():
                return
            yield answer.content
            following = int(answer.headers["X-Feed-Next"])
            if following <= after:
                raise Fault("The gateway's feed did not move on: its X-Feed-Next is not greater.")
            after = following

    def _get(self, after: int) -> httpx.Response:
        try:
            answer = self.client.get(
                "/feed",
                params={
                    "after": after,
                    "limit": self.limit,
                    **({"epoch": self.epoch} if self.epoch else {}),
                },
                headers={"Authorization": f"Bearer {self.token}"},
            )
        except httpx.TransportError as error:
            raise Unavailable("The gateway does not answer: is `ehr up` running?") from error
        if answer.status_code == 401:
            raise Unauthorized("The gateway refused the lake's token for its feed.")
        if answer.status_code == 403:
            raise Forbidden("The lake's token lacks the scope ehr/feed.read.")
        if answer.status_code == 409:
            raise Conflict(
                "The gateway's store does not have all that was read from it before: it was put "
                "back from a backup, or is another one."
            )
        if answer.status_code != 200:
            raise Unavailable(f"The gateway's feed answered with status {answer.status_code}.")
        return answer


@dataclass(frozen=True)
class FileFeed:
    """Lines of NDJSON files in the order given, for tests and for replays."""

    files: tuple[Path, ...]

    def pages(self, after: int) -> Iterator[bytes]:
        """Yield the files; those read before are dropped line by line by `pull_feed`."""
        for file in self.files:
            yield file.read_bytes()


@dataclass(frozen=True)
class LandingReport:
    """What one pull landed."""

    lines: int
    last_position: int


def pull_feed(feed: FeedSource, lake: Lake) -> LandingReport:
    """Land every new page of the feed; resume after the last landed position."""
    lake.landing_folder.mkdir(parents=True, exist_ok=True)
    last = last_landed_position(lake)
    count = 0
    feed = _in_epoch(feed, lake, last)
    for page in feed.pages(last):
        lines, reached = _select_new_lines(page, last)
        if lines:
            _write_landing_file(lake, last + 1, reached, lines)
            count += len(lines)
            last = reached
    return LandingReport(count, last)


def last_landed_position(lake: Lake) -> int:
    """Return the greatest position that was landed, 0 at the start."""
    names = [file.stem for file in lake.landing_folder.glob("*-*.ndjson")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def _in_epoch(feed: FeedSource, lake: Lake, last: int) -> FeedSource:
    """Return the feed in its present epoch; Conflict when the lake is no part of its past."""
    if not isinstance(feed, EpochFeed):
        return feed
    known = load_epoch(lake)
    try:
        found = feed.open_epoch(last, known.epoch if known and last else "")
    except Conflict as error:
        raise Conflict(f"{error} {rebuild_hint(lake)}") from error
    if found is None:
        return feed
    if known is not None and last:
        known.check_same_store(found, lake)
    if found != known:
        save_epoch(lake, found)
    return feed.at_epoch(found.epoch)


def _select_new_lines(page: bytes, last: int) -> tuple[list[bytes], int]:
    """Drop blank lines and those landed before; return the rest and the position they reach.

    An unreadable line is kept for the quarantine. It has no position, so it counts as new when
    the readable line before it (at the start of a page: the one after it) is new.
    """
    lines = [line for line in page.split(b"\n") if line.strip()]
    positions = [_read_position(line) for line in lines]
    known = [position for position in positions if position is not None]
    if lines and not known:
        # Without one readable position the page has no place in the order.
        raise Fault("A page of the feed has no line with a position: nothing was landed.")
    kept: list[bytes] = []
    reached, new = last, bool(known) and known[0] > last
    for line, position in zip(lines, positions, strict=True):
        if position is not None:
            new = position > reached
            reached = max(reached, position)
        if new:
            kept.append(line)
    return kept, reached


def _read_position(line: bytes) -> int | None:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    position = entry.get("position") if isinstance(entry, dict) else None
    return position if isinstance(position, int) and not isinstance(position, bool) else None


def _write_landing_file(lake: Lake, first: int, last: int, lines: list[bytes]) -> None:
    """Write under another name, then rename: a landed file is whole."""
    target = lake.landing_folder / f"{first:015d}-{last:015d}.ndjson"
    # The stream takes *.ndjson alone.
    partial = target.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(b"\n".join(lines) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    partial.rename(target)
