"""Short writes are made on the event loop: together, each for itself, on disk before it is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import BudgetExceeded, SqliteDatabase
from ehr_gateway.database import sqlite as sqlite_module
from ehr_gateway.transaction.event_loop_writer import EventLoopWriter
from tests.lib.writes import TIMEOUT_S, many, put, words


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    one = SqliteDatabase(tmp_path / "a.db")
    with one.write_transaction() as connection:
        connection.execute("CREATE TABLE word (text TEXT PRIMARY KEY)")
    yield one
    one.close()


def test_nobody_is_told_before_the_log_is_on_disk(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    real = os.fdatasync

    def power_cut_after(file: int) -> None:
        # What a power cut leaves is what was flushed: nothing that comes later.
        real(file)
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        for name in ("a.db", "a.db-wal"):
            shutil.copy(tmp_path / name, kept / name)

    monkeypatch.setattr(os, "fdatasync", power_cut_after)

    assert many(EventLoopWriter(database), [partial(put, text="a")]) == ["a"]

    with sqlite3.connect(kept / "a.db") as left:
        assert left.execute("SELECT text FROM word").fetchall() == [("a",)]


def test_a_disk_that_fails_is_told_to_each_who_waits(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)

    answers = many(EventLoopWriter(database), [partial(put, text="a"), partial(put, text="b")])

    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]


def test_a_full_disk_refuses_those_who_write_and_nobody_after(database: SqliteDatabase) -> None:
    # SQLite takes the whole transaction back by itself then: there is no savepoint to go back to.
    writer, long = EventLoopWriter(database), "x" * 5000
    with database.write_transaction() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    full = many(writer, [partial(put, text=f"{long}{number}") for number in range(3)])

    with database.write_transaction() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    assert [type(answer) for answer in full] == [Unavailable] * 3
    assert all("disk of the database is full" in str(answer) for answer in full)
    assert many(writer, [partial(put, text="a")]) == ["a"]
    assert words(database) == {"a"}


def test_threads_share_a_flush(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    first, go = threading.Event(), threading.Event()

    def slow(file: int) -> None:
        flushes.append(file)
        first.set()
        go.wait(TIMEOUT_S)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=database.flush) for _ in range(8)]
    threads[0].start()
    first.wait(TIMEOUT_S)
    for thread in threads[1:]:
        thread.start()
    while database._wal._last_caller < len(threads):
        threading.Event().wait(0.001)
    go.set()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert len(flushes) == 2


def test_the_log_is_carried_into_the_file_and_begins_anew(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sqlite_module, "_WAL_CHECKPOINT_BYTES", 1 << 20)
    for number in range(40):
        with database.write_transaction() as connection:
            put(connection, f"{number}" + "x" * 100_000)
        with database._checkpoint_lock:
            pass  # the carrying, where it has begun, is over

    assert (tmp_path / "a.db-wal").stat().st_size <= sqlite_module._WAL_KEPT_BYTES
    assert len(words(database)) == 40


def test_what_takes_long_is_not_read_on_the_loop(database: SqliteDatabase) -> None:
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1 FROM n"

    def read(sql: str) -> Any:
        with database.read_transaction() as connection:
            return connection.execute(sql).fetchone()[0]

    with database.with_budget():
        assert read("SELECT 7") == 7
        with pytest.raises(BudgetExceeded):
            read(f"SELECT count(*) FROM ({slow} LIMIT 10000000)")

    # The same connection, in no hurry any more.
    assert read(f"SELECT count(*) FROM ({slow} LIMIT 100000)") == 100_000
