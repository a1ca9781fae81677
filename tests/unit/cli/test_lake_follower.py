"""Following the feed: every change is applied at once, other work is done now and then."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ehr_cli.commands import lake_follower
from ehr_cli.commands.lake_access import WAIT_SECONDS
from ehr_cli.settings import Settings
from ehr_etl.lake import Lake
from ehr_etl.pipeline import TableChange
from ehr_fhir.errors import Forbidden


class NoMoreChanges(Exception):
    """Ends the endless following."""


class Hospital:
    """A feed with a change a second, at some seconds, and the writer that follows it."""

    def __init__(self, lake: Lake, changes: set[int]) -> None:
        self.lake, self.changes = lake, changes
        self.seconds = 0.0
        self.cursor = SimpleNamespace(position=0, decision=0)
        self.reported_at: list[float] = []
        self.applied_at: list[float] = []
        self.checked_at: list[float] = []
        self.refreshed_at: list[float] = []
        self.told_at: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def take_in(self, feed: object) -> int:
        return int(self.seconds in self.changes)

    def bring_up(self, now_ms: int) -> TableChange:
        if self.seconds not in self.changes:
            return TableChange()
        self.applied_at.append(self.seconds)
        return TableChange(written={"silver", "findings"})

    def wait_for_change(self, position: int, decision: int, seconds: float) -> bool:
        later = [change for change in self.changes if self.seconds < change]
        if not later and seconds == WAIT_SECONDS:
            raise NoMoreChanges
        assert seconds > 0
        self.seconds = min([self.seconds + seconds, *later])
        return self.seconds in self.changes

    def seconds_until_due(self, now_ms: int) -> float:
        return 1e9

    def maintain(self, hours: int, now_ms: int, *, is_thorough: bool = True) -> tuple[str, ...]:
        return ()

    def check_quality(self, change: TableChange) -> tuple[()]:
        self.checked_at.append(self.seconds)
        return ()

    def refresh_open_data(self, settings: Settings) -> None:
        self.refreshed_at.append(self.seconds)
        raise RuntimeError

    def refuse_lineage(self, *arguments: Any) -> None:
        self.told_at.append(self.seconds)
        raise Forbidden("The lake's token lacks a scope.")

    def report(self, *arguments: Any) -> int:
        self.reported_at.append(self.seconds)
        return 1


def follow(folder: Path, changes: set[int]) -> Hospital:
    """Follow the changes of some seconds until nothing is left to be done."""
    hospital = Hospital(Lake(folder), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_follower, "time", hospital)
        patch.setattr(lake_follower, "open_feed", lambda *_: nullcontext(hospital))
        patch.setattr(lake_follower, "open_gateway", lambda *_: nullcontext((None, "")))
        patch.setattr(lake_follower, "send_lineage", hospital.refuse_lineage)
        patch.setattr(lake_follower, "send_faults", hospital.report)
        patch.setattr(lake_follower, "refresh_if_due", hospital.refresh_open_data)
        patch.setattr(lake_follower, "send_quality", lambda *_: 0)
        follower = lake_follower._Follower(
            Settings(token_seconds=1_000_000),
            hospital,  # type: ignore[arg-type]
            "http://here",
            lambda text: None,
        )
        with pytest.raises(NoMoreChanges):
            follower.follow_once()
    assert hospital.applied_at == sorted(changes)
    return hospital


def test_faults_of_many_batches_are_one_report_and_the_last_is_not_forgotten(
    tmp_path: Path,
) -> None:
    reported_at = follow(tmp_path, {0, 1, 2, 3, 12, 13}).reported_at

    assert reported_at[0] == 0
    assert reported_at[-1] >= 13
    gaps = pairwise(reported_at)
    assert all(later - earlier >= lake_follower.REPORT_SECONDS for earlier, later in gaps)


def test_the_quality_gate_waits_for_a_quiet_moment(tmp_path: Path) -> None:
    assert follow(tmp_path, {0, 1, 2, 3}).checked_at == [3 + lake_follower.QUIET_SECONDS]


def test_the_quality_gate_does_not_wait_for_ever(tmp_path: Path) -> None:
    first, last = follow(tmp_path, set(range(2500))).checked_at

    assert first == lake_follower.LATEST_CHECK_SECONDS
    assert last >= first + lake_follower.CHECK_SECONDS


def test_a_gateway_that_refuses_the_record_of_refreshes_stops_nothing(tmp_path: Path) -> None:
    hospital = follow(tmp_path, {0, 1, 2, 100})

    assert hospital.checked_at
    assert hospital.told_at[0] == 0
    gaps = pairwise(hospital.told_at)
    assert all(later - earlier >= lake_follower.LINEAGE_RETRY_SECONDS for earlier, later in gaps)


def test_open_data_is_looked_at_every_hour_and_its_failure_stops_nothing(tmp_path: Path) -> None:
    hospital = follow(tmp_path, {0, 1, lake_follower.OPEN_DATA_SECONDS + 5})

    first, second = hospital.refreshed_at
    assert first == 0
    assert second >= lake_follower.OPEN_DATA_SECONDS
