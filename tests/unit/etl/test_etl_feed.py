"""Taking in the feed: whole pages, each position once, resumable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from ehr_etl.change_feed.gateway_feed import HttpFeed
from ehr_etl.lake import Lake
from ehr_etl.tables import bronze
from ehr_etl.tables.bronze import (
    FeedCursor,
    FeedSource,
    read_lines,
    stored_cursor,
    take_in_feed,
)
from ehr_etl.tables.bucketed import create_tables
from ehr_fhir.errors import Conflict, Fault, Forbidden, Unauthorized, Unavailable
from tests.lib.feed_lines import feed_line, feed_page


def _patients(count: int) -> list[dict[str, str]]:
    return [{"resourceType": "Patient", "id": f"p{n}"} for n in range(count)]


@dataclass
class _Pages:
    content: list[bytes]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        self.asked.append((after, decisions))
        yield from self.content


def _take_in(feed: FeedSource, lake: Lake) -> FeedCursor:
    create_tables(lake)
    return take_in_feed(feed, lake, stored_cursor(lake))


def test_lines_are_kept_as_received_and_numbered(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    pages = [feed_page(_patients(3)), feed_page(_patients(2), start=4)]

    cursor = _take_in(_Pages(pages), lake)

    texts = [line for page in pages for line in page.decode().splitlines()]
    assert list(read_lines(lake, 0, 5)) == list(enumerate(texts, 1))
    assert list(read_lines(lake, 3, 4)) == [(4, texts[3])]
    assert cursor == FeedCursor(position=5, decision=0, sequence=5)


def test_the_feed_is_read_on_where_bronze_ends(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    _take_in(_Pages([feed_page(_patients(3)) + b'{"decision": 8}']), lake)
    again = _Pages([feed_page(_patients(3)) + feed_line(4, _patients(1)[0])])

    cursor = _take_in(again, lake)

    assert again.asked == [(3, 8)]
    assert cursor == stored_cursor(lake) == FeedCursor(position=4, decision=8, sequence=5)


def test_a_crash_while_writing_leaves_no_half_of_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path)

    def crash(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bronze, "append_rows", crash)
        _take_in(_Pages([feed_page(_patients(3))]), lake)

    assert stored_cursor(lake) == FeedCursor()
    assert _take_in(_Pages([feed_page(_patients(3))]), lake).sequence == 3


def test_an_unreadable_line_is_kept_with_its_page(tmp_path: Path) -> None:
    lake = Lake(tmp_path)

    _take_in(_Pages([b"{broken\n" + feed_page(_patients(1))]), lake)

    assert next(read_lines(lake, 0, 1)) == (1, "{broken")


def test_an_unreadable_line_of_a_page_sent_again_is_kept_once(tmp_path: Path) -> None:
    lake, page = Lake(tmp_path), feed_page(_patients(2)) + b"{broken\n"
    first = _take_in(_Pages([page]), lake)

    assert _take_in(_Pages([page]), lake) == first


def test_a_page_without_any_position_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no line with a position"):
        _take_in(_Pages([b"{broken\n"]), Lake(tmp_path))


def _gateway(handler: object) -> httpx.Client:
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]  # a plain function
    return httpx.Client(transport=transport, base_url="http://gateway")


def test_the_http_feed_follows_the_next_position_until_nothing_is_new() -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        asked.append((request.url.params["after"], request.headers["Authorization"]))
        body = feed_page(_patients(2), start=after + 1) if after < 4 else b""
        headers = {"X-Feed-Next": str(after + 2), "X-Feed-Decisions": "0"}
        return httpx.Response(200, content=body, headers=headers)

    pages = list(HttpFeed(_gateway(answer), "secret", limit=2).pages(0, 0))

    assert len(pages) == 2
    assert asked == [("0", "Bearer secret"), ("2", "Bearer secret"), ("4", "Bearer secret")]


def test_the_http_feed_ends_with_the_last_page_though_changes_keep_coming() -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        asked.append(after)
        is_last = "true" if after == 2 else "false"
        headers = {
            "X-Feed-Next": str(after + 2),
            "X-Feed-Decisions": "0",
            "X-Feed-Last-Page": is_last,
        }
        content = feed_page(_patients(2), start=after + 1)
        return httpx.Response(200, content=content, headers=headers)

    pages = list(HttpFeed(_gateway(answer), "secret", limit=2).pages(0, 0))

    assert len(pages) == 2
    assert asked == [0, 2]


@pytest.mark.parametrize(
    ("status", "error"), [(401, Unauthorized), (403, Forbidden), (502, Unavailable)]
)
def test_a_refusal_of_the_gateway_is_said_plainly(status: int, error: type[Exception]) -> None:
    client = _gateway(lambda request: httpx.Response(status))

    with pytest.raises(error):
        list(HttpFeed(client, "t").pages(0, 0))


STUCK = {"X-Feed-Next": "0", "X-Feed-Decisions": "0"}


def test_a_feed_that_does_not_move_on_is_a_fault() -> None:
    client = _gateway(lambda request: httpx.Response(200, content=b"{}", headers=STUCK))

    with pytest.raises(Fault, match="did not move on"):
        list(HttpFeed(client, "t").pages(0, 0))


@dataclass
class _Store:
    """A gateway's feed with an epoch, as its headers tell it."""

    epoch: str = "e1"
    store: str = "s"
    past: dict[str, int] = field(default_factory=dict)
    last: int = 3

    def answer(self, request: httpx.Request) -> httpx.Response:
        after, epoch = int(request.url.params["after"]), request.url.params.get("epoch", "")
        limit = self.last if epoch in ("", self.epoch) else self.past.get(epoch, -1)
        if after > limit:
            return httpx.Response(409)
        body = (
            feed_page(_patients(self.last - after), start=after + 1) if after < self.last else b""
        )
        headers = {
            "X-Feed-Next": str(self.last),
            "X-Feed-Decisions": "0",
            "X-Feed-Store": self.store,
            "X-Feed-Epoch": self.epoch,
        }
        return httpx.Response(200, content=body, headers=headers)

    def feed(self) -> HttpFeed:
        return HttpFeed(_gateway(self.answer), "t")


def test_a_lake_goes_on_in_the_epoch_after_a_restore_of_what_it_has_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    _take_in(_Store().feed(), lake)

    report = _take_in(_Store("e2", past={"e1": 3}, last=5).feed(), lake)

    assert (report.sequence, report.position) == (5, 5)
    assert _take_in(_Store("e2", past={"e1": 3}, last=6).feed(), lake).sequence == 6


@pytest.mark.parametrize(
    "restored",
    [
        _Store("e2", past={"e1": 2}, last=9),  # new changes at positions that the lake has
        _Store("e2", past={"e1": 2}, last=2),
        _Store("e9", past={"e8": 100}, last=100),
        _Store("e1", store="another"),
        _Store("e1", last=2),  # an older copy, put back by other means
    ],
    ids=["overtaken", "shorter", "unknown-past", "another-store", "same-epoch-shorter"],
)
def test_a_lake_that_read_further_than_the_restored_store_is_refused(
    tmp_path: Path, restored: _Store
) -> None:
    lake = Lake(tmp_path)
    _take_in(_Store().feed(), lake)

    with pytest.raises(Conflict, match=f"Remove the folder {tmp_path}"):
        _take_in(restored.feed(), lake)

    assert stored_cursor(lake).position == 3


def test_a_lake_of_before_epochs_takes_the_present_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    _take_in(_Pages([feed_page(_patients(3))]), lake)

    assert _take_in(_Store(last=4).feed(), lake).sequence == 4
    with pytest.raises(Conflict):
        _take_in(_Store("e2", last=4).feed(), lake)
