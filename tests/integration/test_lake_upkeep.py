"""Upkeep of the lake: small files joined, old ones deleted, and a day of changes on little disk."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from ehr_etl import maintenance
from ehr_etl.lake import TABLES as REGISTERED
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from tests.lib.feed_lines import decision_lines, feed_line
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, TABLES, Pages, condition, hospital, rows

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


def diagnosis(name: str, number: int, seed: int = 0) -> dict[str, Any]:
    # A note as long as real ones, which compress to half.
    text = random.Random(f"{name} {seed}").randbytes(300).hex()
    who = f"p-{number % 300}"
    return condition(name, who, "enc-one", note=[{"text": text}])


def simulate(lake: Lake, minutes: int, changes_a_batch: int) -> list[float]:
    """Let minutes go by at a change a second; return the shares of disk of the live size."""
    records = [*hospital(), *(diagnosis(f"more-{number}", number) for number in range(3000))]
    lines = [feed_line(number, record) for number, record in enumerate(records, 1)]
    position, shares = len(lines), []
    with LakeWriter(lake, KEY) as writer:
        writer.take_in(Pages([b"\n".join([*lines, *decision_lines(records)])]))
        for minute in range(minutes):
            now_ms = NOW_MS + minute * 60_000
            for batch in range(60 // changes_a_batch):
                if batch * changes_a_batch % 10 == 0:
                    second = now_ms + batch * changes_a_batch * 1000
                    writer.maintain(1, second, is_thorough=False)
                lines = []
                for _ in range(changes_a_batch):
                    position += 1
                    newer = diagnosis(f"more-{position % 3000}", position % 3000, position)
                    lines.append(feed_line(position, newer, version=position))
                writer.take_in(Pages([b"\n".join(lines)]))
                writer.bring_up(now_ms)
            # Before the upkeep: when it is most.
            shares.append(disk_bytes(lake) / live_bytes(lake))
            writer.maintain(1, now_ms + 59_000)
            let_a_minute_pass(lake)
    return shares


def let_a_minute_pass(lake: Lake) -> None:
    """Make every file a minute older, as Delta's own clean-up sees it."""
    for file in lake.root.rglob("*"):
        if file.is_file():
            was = file.stat()
            os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns - 60_000_000_000))


def test_old_files_and_logs_do_not_add_up_within_minutes(tmp_path: Path) -> None:
    shares = simulate(Lake(tmp_path), minutes=5, changes_a_batch=5)

    assert max(shares[2:]) < 3, shares


@pytest.mark.slow
def test_a_day_of_a_change_a_second_takes_less_than_three_times_the_live_size(
    tmp_path: Path,
) -> None:
    shares = simulate(Lake(tmp_path), minutes=24 * 60, changes_a_batch=30)

    assert max(shares[3:]) < 3, (max(shares), shares[-1])
