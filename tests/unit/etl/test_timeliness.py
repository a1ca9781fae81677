"""Timeliness is counted by provider, in changes and in a rebuild alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ehr_etl.change_feed.entries import FeedLine, parse_line
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_etl.tables.bucketed import create_tables
from ehr_etl.tables.scores import append_scores, summarize_providers
from ehr_etl.tables.silver import SilverReport, is_late_line
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, encounter, patient


def line_of(resource: dict[str, Any], version: int = 1) -> FeedLine:
    store = FakeStore()
    for _ in range(version):
        store.put(resource)
    text = b"".join(store.pages(0, 0)).splitlines()[version - 1]
    return parse_line(text.decode())


def stay(end: str, **changed: Any) -> dict[str, Any]:
    return encounter("e1", "p1", period={"start": "2020-01-01", "end": end}, **changed)


def test_a_record_is_late_a_month_after_what_it_tells_of() -> None:
    received = str(line_of(stay("2020-02-01")).last_updated)[:10]

    assert is_late_line(line_of(stay("2020-02-01")))
    assert not is_late_line(line_of(stay(received)))


def test_a_correction_is_not_late() -> None:
    assert not is_late_line(line_of(stay("2020-02-01"), version=2))


def test_what_tells_of_no_time_is_not_late() -> None:
    assert not is_late_line(line_of(patient("p1")))
    assert not is_late_line(line_of({**stay("2020-02-01"), "period": {"start": "2020-01-01"}}))


@pytest.mark.parametrize(("late", "is_passed"), [(1, True), (2, False)])
def test_a_provider_passes_with_a_tenth(tmp_path: Path, late: int, is_passed: bool) -> None:
    lake, report = Lake(tmp_path), SilverReport()
    create_tables(lake)
    report.count([], is_held=False, number=10 - late, author="ha-harbour")
    report.count([], is_held=False, number=late, author="ha-harbour", is_late=True)

    append_scores(lake, 1000, report, [], is_anew=True)

    (provider,) = summarize_providers(lake)
    (result,) = provider.results
    assert (result.name, result.success) == ("came-in-time", is_passed)
    assert (result.evaluated, result.unexpected) == (10, late)


def test_a_rebuild_counts_what_changes_counted(tmp_path: Path) -> None:
    store = FakeStore()
    store.put(patient("p1"))
    store.put(stay("2020-02-01"))
    with LakeWriter(Lake(tmp_path), KEY) as writer:
        writer.take_in(store)
        changed = writer.bring_up(NOW_MS).silver.by_author
        anew = writer.rebuild("silver", NOW_MS).silver.by_author

    assert anew == changed
    assert [number for (_, rule), number in anew.items() if rule == "came-in-time"] == [1]
