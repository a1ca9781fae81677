"""Streams of live rows: judged anew each time, bounded, and ended when a session or server ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from ehr_fhir.errors import Forbidden, TooMany, Unauthorized, Unavailable
from ehr_portal.settings import LivePace
from ehr_portal.web.live_rows import MAX_STREAMS_PER_SESSION, LiveStreams, RenderedRows, stream_rows
from tests.lib.loops import run
from tests.lib.portal_house import PortalHouse

PACE = LivePace(tick=0.001, shortest=0.0, longest=60.0, heartbeat=60.0, lifetime=5.0)


class Ward:
    """What a gateway would show: rows that change, positions that grow, a session that ends."""

    def __init__(self, pace: LivePace = PACE) -> None:
        self.rows = "<li>a</li>"
        self.refusal: Exception | None = None
        self.written = 0
        self.asked = 0
        self.is_logged_in = True
        self.about: frozenset[str] | None = frozenset()
        self.streams = LiveStreams(pace, self.probe)

    def probe(self, after: int) -> tuple[int, frozenset[str] | None]:
        return self.written, self.about if after < self.written else frozenset()

    async def render(self) -> RenderedRows:
        self.asked += 1
        if self.refusal:
            raise self.refusal
        return RenderedRows(self.rows, frozenset({"pat-1"}))

    def write(self, rows: str, about: frozenset[str] | None = frozenset({"pat-1"})) -> None:
        """Have something written, after which the reader may see these rows."""
        self.rows, self.about, self.written = rows, about, self.written + 1

    def follow(self, *steps: Callable[[], None]) -> list[tuple[str, Any]]:
        """Return the events of a stream; after each of them the next step is taken."""
        events: list[tuple[str, Any]] = []
        waiting = list(steps)

        async def read() -> None:
            stream = stream_rows(self.streams, "s", lambda: self.is_logged_in, self.render)
            async for line in stream:
                name, _, data = line.decode().partition("\ndata: ")
                if name.startswith("event: "):
                    events.append((name.removeprefix("event: "), json.loads(data)))
                    if waiting:
                        waiting.pop(0)()

        run(asyncio.wait_for(read(), 20))
        return events

    def end(self) -> None:
        self.is_logged_in = False


def test_rows_are_sent_first_and_again_when_they_differ() -> None:
    ward = Ward()

    events = ward.follow(lambda: ward.write("<li>b</li>"), ward.end)

    assert events == [("rows", "<li>a</li>"), ("rows", "<li>b</li>"), ("end", "")]


def test_a_record_that_is_closed_meanwhile_leaves_with_the_next_event() -> None:
    ward = Ward()

    events = ward.follow(lambda: ward.write(""), ward.end)

    assert events == [("rows", "<li>a</li>"), ("rows", ""), ("end", "")]


def test_what_is_written_and_shows_nothing_new_sends_nothing() -> None:
    ward = Ward(LivePace(tick=0.001, shortest=0.0, heartbeat=60.0, lifetime=0.5))

    events = ward.follow(lambda: ward.write("<li>a</li>"))

    assert events == [("rows", "<li>a</li>")]
    assert ward.asked == 2


def test_nothing_is_asked_while_nothing_is_written() -> None:
    ward = Ward(LivePace(tick=0.001, shortest=0.0, lifetime=0.3))

    ward.follow()

    assert ward.asked == 1


@pytest.mark.parametrize(("about", "asked"), [({"pat-2"}, 1), ({"pat-1", "pat-2"}, 2), (None, 2)])
def test_a_stream_asks_for_the_patients_of_its_list_and_for_what_concerns_anybody(
    about: set[str] | None, asked: int
) -> None:
    ward = Ward(LivePace(tick=0.001, shortest=0.0, lifetime=0.3))

    ward.follow(lambda: ward.write("<li>a</li>", None if about is None else frozenset(about)))

    assert ward.asked == asked


@pytest.mark.parametrize("has_probe", [True, False])
def test_the_gateway_is_asked_by_time_alone_too(has_probe: bool) -> None:
    ward = Ward(
        LivePace(tick=0.001, longest=0.01 if has_probe else 60, unprobed=0.01, lifetime=0.3)
    )
    if not has_probe:
        ward.streams = LiveStreams(ward.streams.pace, None)

    ward.follow()

    assert ward.asked > 2


def test_much_writing_does_not_ask_more_often_than_the_shortest_pace() -> None:
    ward = Ward(LivePace(tick=0.001, shortest=10.0, lifetime=0.3))
    ward.streams = LiveStreams(ward.streams.pace, lambda after: (after + 1, None))

    ward.follow()

    assert ward.asked == 1


@pytest.mark.parametrize(
    ("refusal", "events"),
    [
        (Unauthorized("revoked"), [("rows", "<li>a</li>"), ("end", "")]),
        (Forbidden("no"), [("rows", "<li>a</li>")]),
        (Unavailable("away"), [("rows", "<li>a</li>")]),
    ],
)
def test_rows_that_nobody_judged_are_not_sent(
    refusal: Exception, events: list[tuple[str, str]]
) -> None:
    ward = Ward()

    def refuse() -> None:
        ward.refusal = refusal
        ward.write("<li>secret</li>")

    assert ward.follow(refuse) == events
    assert ward.streams.size == 0


def test_a_server_that_stops_ends_every_stream() -> None:
    ward = Ward(LivePace(tick=0.001, lifetime=60))

    events = ward.follow(ward.streams.close)

    assert events == [("rows", "<li>a</li>")]
    with pytest.raises(TooMany):
        ward.streams.check_room("another")


def test_a_quiet_stream_says_that_it_is_there() -> None:
    ward = Ward(LivePace(tick=0.001, heartbeat=0.02, lifetime=0.3))
    lines: list[bytes] = []

    async def read() -> None:
        async for line in stream_rows(ward.streams, "s", lambda: True, ward.render):
            lines.append(line)

    run(read())

    assert lines[0] == b"retry: 5000\n\n"
    assert lines.count(b": still here\n\n") > 1


def test_a_session_has_few_streams_and_one_that_ends_makes_room() -> None:
    ward = Ward()
    with ward.streams.watch("s"), ward.streams.watch("s"):
        ward.streams.check_room("s")
        with ward.streams.watch("s"):
            assert ward.streams.size == MAX_STREAMS_PER_SESSION
            with pytest.raises(TooMany):
                ward.streams.check_room("s")
            ward.streams.check_room("another")
        ward.streams.check_room("s")


def test_a_stream_too_many_is_refused_before_anything_is_asked() -> None:
    house = PortalHouse()
    browser = house.log_in("doctor")
    house.app.state.portal.live_streams.close()
    house.fake.asked.clear()

    answer = browser.get("/my-patients/events")

    assert answer.status_code == 429
    assert [r.url.path for r in house.fake.asked if "CodeSystem" not in r.url.path] == []


def test_a_stream_is_for_clinicians_and_kept_by_nobody() -> None:
    house = PortalHouse(live_pace=LivePace(tick=0.001, lifetime=0.05))

    assert PortalHouse().log_in("patient").get("/my-patients/events").status_code == 403
    answer = house.log_in("doctor").get("/my-patients/events?list=ward")

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "event: rows" in answer.text


def test_a_stream_that_watches_does_not_lengthen_the_session() -> None:
    house = PortalHouse(live_pace=LivePace(tick=0.001, lifetime=0.05))
    browser = house.log_in("doctor")
    house.now += 25 * 60
    browser.get("/my-patients/events")
    house.now += 10 * 60

    assert browser.get("/my-patients").headers["location"] == "/?ended=1"
