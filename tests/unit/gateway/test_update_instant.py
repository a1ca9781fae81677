"""A clock that was ahead and is corrected: versions stay in order, and pollers miss none."""

from __future__ import annotations

import logging
from logging import LogRecord

import pytest

from ehr_gateway.incidents import CLOCK_BEHIND
from tests.lib.gateway import MoveIn, organization

DAY_S = 86_400


def test_clients_that_poll_by_time_miss_nothing_when_the_clock_is_corrected(
    move_in: MoveIn, caplog: pytest.LogCaptureFixture
) -> None:
    house = move_in("empty")
    platform = house.system("ehr-commons")
    house.clock.forward(seconds=DAY_S)
    ahead = house.system("ehr-commons")
    ahead.store(organization("ahead"))
    house.clock.forward(seconds=-DAY_S)

    seen: list[str] = ["ahead"]
    last = ahead.get("Organization/ahead").json()["meta"]["lastUpdated"]
    with caplog.at_level(logging.CRITICAL, "ehr_gateway"):
        for number in range(4):
            platform.store(organization(f"later-{number}"))
            found = platform.get(f"Organization?_lastUpdated=gt{last}&_sort=_lastUpdated").json()
            entries = [entry["resource"] for entry in found["entry"]]
            seen += [entry["id"] for entry in entries]
            last = entries[-1]["meta"]["lastUpdated"]

    assert seen == ["ahead", *(f"later-{number}" for number in range(4))]
    # Told once, not at each write.
    assert [text for text in map(LogRecord.getMessage, caplog.records) if "clock" in text] == [
        house.gateway.store.incidents.text_of(CLOCK_BEHIND)
    ]
    assert "86400 s behind" in caplog.text
    ready = house.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.text.startswith("ready\nThe clock is 86400 s behind")


def test_once_the_clock_has_caught_up_times_are_its_own_again(move_in: MoveIn) -> None:
    house = move_in("empty")
    platform = house.system("ehr-commons")
    house.clock.forward(seconds=600)
    platform.store(organization("ahead"))
    house.clock.forward(seconds=-600)
    platform.store(organization("behind"))
    house.clock.forward(seconds=700)
    platform.store(organization("caught-up"))

    def updated(identity: str) -> str:
        return str(platform.get(f"Organization/{identity}").json()["meta"]["lastUpdated"])

    assert updated("ahead") < updated("behind") < updated("caught-up")
    assert updated("caught-up").startswith("2026-11-22T08:11:40")
    assert house.gateway.store.incidents.text_of(CLOCK_BEHIND) is None
    assert house.client.get("/readyz").text == "ready\n"


def test_a_clock_that_is_a_moment_behind_is_no_fault(move_in: MoveIn) -> None:
    house = move_in("empty")
    platform = house.system("ehr-commons")
    platform.store(organization("first"))
    house.clock.forward(seconds=-0.5)
    platform.store(organization("second"))

    assert house.gateway.store.incidents.text_of(CLOCK_BEHIND) is None
