"""Refreshes of the lake on record: every version once, whatever a kill leaves unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from ehr_etl import lineage, pipeline
from ehr_etl.lake import Lake
from ehr_etl.lineage import describe_table, digest_table, is_traced, load_refreshes
from ehr_etl.pipeline import LakeWriter
from ehr_etl.upkeep import iterate_tables
from ehr_privacy.audit import lineage_id, parse_record
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, hospital


class Log:
    """What the gateway has on record; `is_deaf` ends a call after it took the records."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.is_deaf = False

    def take(self, texts: Sequence[str]) -> None:
        for record in map(parse_record, texts):
            self.records.setdefault(lineage_id(record), record)
        if self.is_deaf:
            raise ConnectionError

    def versions(self) -> dict[str, list[tuple[int | None, int]]]:
        found: dict[str, list[tuple[int | None, int]]] = {}
        for record in self.records.values():
            for table in record["tables"]:
                found.setdefault(table["name"], []).append((table["since"], table["version"]))
        return found


def update(lake: Lake, feed: FakeStore, log: Log) -> None:
    with LakeWriter(lake, KEY) as writer:
        writer.take_in(feed)
        writer.bring_up(NOW_MS)
        writer.send_refreshes(log.take)


@pytest.fixture
def feed() -> FakeStore:
    store = FakeStore()
    for resource in hospital():
        store.put(resource)
    return store


def assert_whole(lake: Lake, log: Log) -> None:
    """Every version of every table is in just one record, and the records are one chain."""
    now = {name: lake.open_table(name).version() for name in iterate_tables(lake)}
    for name, spans in log.versions().items():
        assert spans[0][0] is None
        assert [since for since, _ in spans[1:]] == [version for _, version in spans[:-1]], name
        assert spans[-1][1] == now[name], name
    assert set(log.versions()) == set(filter(is_traced, now))
    previous = [record["previous"] for record in log.records.values()]
    assert previous == [None, *list(log.records)[:-1]]
    assert load_refreshes(lake).unsent == ()


def test_every_refresh_is_on_record_once(tmp_path: Path, feed: FakeStore) -> None:
    lake, log = Lake(tmp_path / "lake"), Log()
    update(lake, feed, log)
    feed.put(condition("con-new", "p-one", "enc-one"))
    update(lake, feed, log)
    update(lake, feed, log)

    assert len(log.records) == 2
    assert_whole(lake, log)
    newest = list(log.records.values())[-1]
    assert newest["position"] == len(feed.versions)
    assert "con-new" not in str(newest) and "p-one" not in str(newest)


def test_what_a_kill_left_unsaid_is_in_the_next_record(
    tmp_path: Path, feed: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, log = Lake(tmp_path / "lake"), Log()
    update(lake, feed, log)
    # Between the commit of the tables and the record of it.
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "note_refresh", _die)
        feed.put(condition("con-1", "p-one", "enc-one"))
        with pytest.raises(KeyboardInterrupt):
            update(lake, feed, log)
    update(lake, feed, log)
    # Between the gateway's log and the lake's note of it.
    log.is_deaf = True
    feed.put(condition("con-2", "p-one", "enc-one"))
    with pytest.raises(ConnectionError):
        update(lake, feed, log)
    log.is_deaf = False
    feed.put(condition("con-3", "p-one", "enc-one"))
    update(lake, feed, log)

    assert len(log.records) == 4
    assert_whole(lake, log)


def test_a_gateway_that_is_away_for_long_lets_the_file_grow_no_further_and_loses_nothing(
    tmp_path: Path, feed: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "_MOST_UNSENT", 2)
    lake, log = Lake(tmp_path / "lake"), Log()
    with LakeWriter(lake, KEY) as writer:
        for number in range(4):
            writer.take_in(feed)
            writer.bring_up(NOW_MS)
            assert len(load_refreshes(lake).unsent) <= 2
            feed.put(condition(f"con-{number}", "p-one", "enc-one"))
        writer.send_refreshes(log.take)

    assert len(log.records) == 2
    assert_whole(lake, log)
    first, last = log.records.values()
    assert last["from"] == first["to"]
    assert last["to"] == load_refreshes(lake).sequence


def test_upkeep_and_tables_made_anew_are_on_record(tmp_path: Path, feed: FakeStore) -> None:
    lake, log = Lake(tmp_path / "lake"), Log()
    update(lake, feed, log)
    with LakeWriter(lake, KEY) as writer:
        writer.rebuild("deid", NOW_MS)
        writer.maintain(0, NOW_MS)
        writer.send_refreshes(log.take)

    assert_whole(lake, log)


def test_a_version_that_leads_to_other_files_has_another_digest(
    tmp_path: Path, feed: FakeStore
) -> None:
    lake, log = Lake(tmp_path / "lake"), Log()
    update(lake, feed, log)
    name = "gold/condition_flat"
    recorded = next(
        table
        for record in log.records.values()
        for table in record["tables"]
        if table["name"] == name
    )
    assert describe_table(lake, name, recorded["version"]).digest == recorded["digest"]

    newest = max(lake.table_path(name).glob("_delta_log/*.json"))
    newest.write_text(newest.read_text().replace('"size":', '"size":1'))

    assert digest_table(DeltaTable(str(lake.table_path(name)))) != recorded["digest"]
    assert describe_table(lake, name, 999).digest is None


def _die(*_: object) -> bool:
    raise KeyboardInterrupt
