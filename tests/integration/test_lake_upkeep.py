"""Upkeep of the lake: small files joined, old ones deleted, and a day of changes on little disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehr_etl import maintenance
from ehr_etl.lake import TABLES as REGISTERED
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, TABLES, condition, hospital, rows

pytestmark = pytest.mark.timeout(3000)


def start(store: FakeStore) -> None:
    for record in hospital():
        store.put(record)


def bring_up(lake: Lake, store: FakeStore, now_ms: int = NOW_MS) -> None:
    with LakeWriter(lake, KEY) as writer:
        writer.take_in(store)
        writer.bring_up(now_ms)


def change(store: FakeStore, number: int) -> None:
    name = "one" if number % 2 else "two"
    store.put(
        condition(f"cond-{name}", f"p-{name}", f"enc-{name}",
                  recordedDate=f"2026-03-{1 + number % 28:02}", note=[{"text": f"n{number}"}])
    )  # fmt: skip


def disk_bytes(lake: Lake) -> int:
    return sum(file.stat().st_size for file in lake.root.rglob("*") if file.is_file())


def live_bytes(lake: Lake) -> int:
    names = [*REGISTERED, *(f"gold/{file.name}" for file in (lake.root / "gold").iterdir())]
    return sum(
        sum(lake.open_table(name).get_add_actions(flatten=True).column("size_bytes").to_pylist())
        for name in names
    )


def test_small_files_are_joined_and_old_ones_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_MOST_FILES", 5)
    lake, store = Lake(tmp_path), FakeStore()
    start(store)
    for number in range(12):
        bring_up(lake, store)
        change(store, number)
    bring_up(lake, store)
    before = {name: rows(lake, name) for name in TABLES}
    files = {name: len(lake.open_table(name).file_uris()) for name in ("bronze", "silver_history")}

    with LakeWriter(lake, KEY) as writer:
        maintained = writer.maintain(0, NOW_MS)
        again = writer.maintain(0, NOW_MS)

    assert all(count > 5 for count in files.values())
    assert {"bronze", "silver_history", "silver", "deid"} <= set(maintained)
    assert again == ()
    assert {name: rows(lake, name) for name in TABLES} == before
    for name in REGISTERED:
        table = lake.open_table(name)
        on_disk = {file.name for file in (tmp_path / name).rglob("*.parquet")
                   if "_delta_log" not in file.parts}  # fmt: skip
        assert on_disk == {uri.rpartition("/")[2] for uri in table.file_uris()}, name
    assert len(lake.open_table("bronze").file_uris()) == 1


def test_a_file_is_kept_for_readers_until_its_time_is_over(tmp_path: Path) -> None:
    lake, store = Lake(tmp_path), FakeStore()
    start(store)
    bring_up(lake, store)
    older = lake.open_table("silver")
    change(store, 1)
    bring_up(lake, store)

    with LakeWriter(lake, KEY) as writer:
        writer.maintain(1, NOW_MS)
    assert older.to_pyarrow_table().num_rows == len(rows(lake, "silver")) - 1 + 1

    with LakeWriter(lake, KEY) as writer:
        change(store, 2)
        writer.take_in(store)
        writer.bring_up(NOW_MS)
        writer.maintain(0, NOW_MS)
    with pytest.raises(Exception, match=r"(?i)not found|no such file|exist"):
        older.to_pyarrow_table()


def test_what_a_rebuild_that_was_cut_short_left_is_deleted(tmp_path: Path) -> None:
    lake, store = Lake(tmp_path), FakeStore()
    start(store)
    bring_up(lake, store)
    stray = tmp_path / "silver" / "bucket=0" / "stray.parquet"
    stray.write_bytes(b"PAR1")
    scratch = tmp_path / "scratch" / "lines" / "0"
    scratch.mkdir(parents=True)
    (scratch / "left.arrow").write_bytes(b"left")

    with LakeWriter(lake, KEY) as writer:
        change(store, 1)
        writer.take_in(store)
        writer.bring_up(NOW_MS)
        writer.maintain(0, NOW_MS)

    assert not stray.exists()
    assert not scratch.exists()


def simulate(lake: Lake, hours: int, changes_an_hour: int, check_every: int) -> list[float]:
    """Let hours go by with changes and upkeep; return disk over live size, now and then."""
    store = FakeStore()
    start(store)
    shares = []
    with LakeWriter(lake, KEY) as writer:
        for number in range(hours * changes_an_hour):
            change(store, number)
            writer.take_in(store)
            writer.bring_up(NOW_MS + number * 3_600_000 // changes_an_hour)
            if number % check_every == check_every - 1:
                writer.maintain(0, NOW_MS)
                shares.append(disk_bytes(lake) / live_bytes(lake))
    return shares


def test_the_log_does_not_grow_with_the_hours(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    simulate(lake, hours=2, changes_an_hour=60, check_every=30)

    # Delta's own history is kept for a day; then it is deleted with its checkpoints.
    for name in REGISTERED:
        log = [file.name for file in (tmp_path / name / "_delta_log").glob("*.json")]
        assert len(log) <= 130, name


def age_files(lake: Lake, hours: int) -> None:
    """Make every file of the lake older by some hours."""
    import os

    for file in lake.root.rglob("*"):
        if file.is_file():
            was = file.stat()
            os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns - hours * 3_600_000_000_000))


def last_commit(lake: Lake, name: str) -> dict[str, object]:
    newest = max((lake.root / name / "_delta_log").glob("*.json"))
    return {key: value for line in newest.read_text().splitlines()
            for key, value in json.loads(line).items()}  # fmt: skip
