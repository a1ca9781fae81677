"""Reads on the event loop wait for PostgreSQL without holding up each other or the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.admission_queue import Turns
from ehr_gateway.database import (
    BudgetExceeded,
    Database,
    PostgresqlDatabase,
    open_database,
    run_cooperatively,
)
from ehr_gateway.deadline import Deadline, deadline_of
from tests.lib.loops import run
from tests.lib.postgresql import Cluster

# Returns when they are gone.
LOST = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = %s"
# Of the gateway's connections.
_OWN = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'ehr-commons' AND"
IN_TRANSACTION = f"{_OWN} state LIKE 'idle in transaction%'"
WAITING = f"{_OWN} wait_event_type = 'Lock'"
SLEEPING = f"{_OWN} wait_event = 'PgSleep'"
# Far longer than what is waited for takes.
PATIENCE_S = 60


@pytest.fixture
def url(postgresql: Cluster) -> Iterator[str]:
    """Return the address of an empty database."""
    with postgresql.database() as url:
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Open an empty database."""
    opened = open_database(url)
    yield opened
    opened.close()


def read(database: Database, sql: str, *values: object, single: bool = False) -> list[Any]:
    with database.read_transaction(single_statement=single) as connection:
        return [row[0] for row in connection.execute(sql, values)]


async def wait_for_rows(url: str, sql: str, *, none: bool = False) -> None:
    """Wait until a query of the server has rows, or none."""

    def has_rows() -> bool:
        with psycopg.connect(url) as other:
            return bool(other.execute(sql).fetchall())

    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(has_rows) == none:
            await asyncio.sleep(0.01)


def terminate(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOST, ("ehr-commons",))


def test_a_slow_read_holds_up_neither_another_nor_the_loop(database: Database, url: str) -> None:
    # It waits for a lock that another has, until all the others are answered.
    wait = "SELECT pg_advisory_xact_lock(7)"

    async def both() -> None:
        slow = asyncio.create_task(run_cooperatively(read, database, wait))
        await wait_for_rows(url, WAITING)
        for turn in range(20):
            assert await run_cooperatively(read, database, "SELECT 1 + ?", turn) == [1 + turn]
        assert not slow.done()
        await asyncio.to_thread(holder.rollback)
        await slow

    with psycopg.connect(url) as holder:
        holder.execute(wait)
        run(both())


def test_more_reads_than_turns_are_all_answered(database: Database) -> None:
    async def many() -> list[list[Any]]:
        turns = Turns(8)

        async def in_turn(number: int) -> list[Any]:
            await turns.take()
            try:
                single = number % 2 == 0
                return await run_cooperatively(read, database, "SELECT ?", number, single=single)
            finally:
                turns.give_back()

        return await asyncio.gather(*(in_turn(number) for number in range(60)))

    assert run(many()) == [[number] for number in range(60)]


def test_a_transaction_sees_one_state_and_is_ended(database: Database, url: str) -> None:
    def write(sql: str) -> None:
        with database.write_transaction() as connection:
            connection.execute(sql)

    def count_before_and_after_a_write() -> list[int]:
        with database.read_transaction() as connection:
            sql = "SELECT COUNT(*) FROM note"
            before = connection.execute(sql).fetchone()[0]
            thread.submit(write, "INSERT INTO note VALUES ('new')").result(PATIENCE_S)
            return [before, connection.execute(sql).fetchone()[0]]

    async def count_twice() -> tuple[list[int], list[int]]:
        during = await run_cooperatively(count_before_and_after_a_write)
        after = await run_cooperatively(read, database, "SELECT COUNT(*) FROM note")
        # The end of a transaction waits a moment for the next statement.
        await wait_for_rows(url, IN_TRANSACTION, none=True)
        return during, after

    write("CREATE TABLE note (word TEXT)")
    with ThreadPoolExecutor(1) as thread:
        assert run(count_twice()) == ([0, 0], [1])


def test_a_refused_statement_spoils_no_later_one(database: Database) -> None:
    def fail_twice() -> None:
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                read(database, "SELECT 1 / ?", 0)
            with pytest.raises(psycopg.errors.UndefinedTable):
                read(database, "SELECT * FROM missing WHERE id = ?", 1)

    async def both() -> list[Any]:
        await run_cooperatively(fail_twice)
        return await run_cooperatively(read, database, "SELECT 10 / ?", 2)

    assert run(both()) == [5]


def test_a_lost_connection_is_an_error_once(database: Database, url: str) -> None:
    async def lose_and_read_again() -> list[Any]:
        assert await run_cooperatively(read, database, "SELECT 1") == [1]
        # While it is idle: nobody sees that.
        await asyncio.to_thread(terminate, url)
        assert await run_cooperatively(read, database, "SELECT 2") == [2]
        slow = asyncio.create_task(run_cooperatively(read, database, "SELECT pg_sleep(600)"))
        await wait_for_rows(url, SLEEPING)
        await asyncio.to_thread(terminate, url)
        with pytest.raises(Unavailable):
            await slow
        return await run_cooperatively(read, database, "SELECT 3")

    assert run(lose_and_read_again()) == [3]


def test_a_read_ends_with_its_deadline(database: Database) -> None:
    async def too_slow() -> float:
        start = time.monotonic()
        with deadline_of(Deadline(start + 0.3)), pytest.raises(Unavailable):
            await run_cooperatively(read, database, "SELECT pg_sleep(600)")
        return time.monotonic() - start

    assert run(too_slow()) < PATIENCE_S


def test_a_single_statement_after_a_transaction_is_in_none(database: Database) -> None:
    async def both() -> list[list[Any]]:
        sql = "SELECT current_setting('transaction_isolation')"
        return [
            await run_cooperatively(read, database, sql, single=single)
            for single in (False, True, True, False, True)
        ]

    alone, within = ["read committed"], ["repeatable read"]
    assert run(both()) == [within, alone, alone, within, alone]


def test_what_is_long_for_the_loop_is_refused_there(database: Database) -> None:
    sql = "SELECT generate_series(1, ?)"

    with pytest.raises(BudgetExceeded):
        run(run_cooperatively(read, database, sql, 201))
    assert len(run(run_cooperatively(read, database, sql, 200))) == 200
    assert len(read(database, sql, 201)) == 201


def test_a_write_is_refused_on_the_loop(database: Database) -> None:
    def write() -> None:
        with database.write_transaction():
            pass

    with pytest.raises(RuntimeError, match="write_on_loop"):
        run(run_cooperatively(write))


def test_many_rows_are_sent_at_once_and_the_first_error_is_told(url: str) -> None:
    opened = PostgresqlDatabase(url)
    insert = "INSERT INTO reading VALUES (?, ?)"

    def write(rows: list[tuple[int, str | None]]) -> None:
        with opened.write_on_loop() as connection:
            connection.executemany(insert, rows)

    async def write_three_times() -> None:
        await run_cooperatively(write, [(n, None if n % 3 else "third") for n in range(600)])
        with pytest.raises(psycopg.errors.UniqueViolation):
            await run_cooperatively(write, [(599, "again"), (600, "new")])
        await run_cooperatively(write, [(600, "new"), (601, None)])

    with opened.write_transaction() as connection:
        connection.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, word TEXT)")
    run(write_three_times())
    assert read(opened, "SELECT COUNT(*) FROM reading") == [602]
    assert read(opened, "SELECT COUNT(word) FROM reading") == [201]
    opened.close()


def test_a_cancelled_read_gives_its_connection_back(database: Database) -> None:
    async def cancel_some() -> list[Any]:
        for _ in range(20):
            task = asyncio.create_task(run_cooperatively(read, database, "SELECT pg_sleep(0.01)"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return await run_cooperatively(read, database, "SELECT 1")

    assert run(cancel_some()) == [1]
