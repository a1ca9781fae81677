"""What PostgreSQL may do to a connection, and that the next request does not suffer for it."""

from __future__ import annotations

import time

import psycopg
import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import open_database
from ehr_gateway.deadline import Deadline, deadline_of
from tests.lib.postgresql import Cluster

# Returns when they are gone.
LOST = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = %s"


def test_a_wait_for_the_lock_that_is_cancelled_spoils_no_later_write(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        first = open_database(url)
        second = open_database(url)
        # Both are connected: what is waited for is the lock alone.
        for database in (first, second):
            with database.write_transaction() as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS note (word TEXT)")
        with first.write_transaction():
            with (
                deadline_of(Deadline(time.monotonic() + 0.5)),
                pytest.raises(Unavailable, match="longer than a request can wait"),
                second.write_transaction(),
            ):
                pass

        with second.write_transaction() as connection:
            connection.execute("INSERT INTO note VALUES ('kept')")

        with first.read_transaction() as connection:
            assert [row["word"] for row in connection.execute("SELECT word FROM note")] == ["kept"]
        first.close()
        second.close()


def test_a_write_whose_connection_is_lost_is_not_said_to_be_done(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        database = open_database(url)
        with database.write_transaction() as connection:
            connection.execute("CREATE TABLE note (word TEXT)")
        with database.read_transaction() as connection:
            connection.execute("SELECT word FROM note")

        with pytest.raises(Unavailable), database.write_transaction() as connection:
            connection.execute("INSERT INTO note VALUES ('lost')")
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(LOST, ("ehr-commons",))
        with database.write_transaction() as connection:
            connection.execute("INSERT INTO note VALUES ('kept')")

        # The reader's connection was lost as well: a dead one is not lent.
        with database.read_transaction() as connection:
            assert [row["word"] for row in connection.execute("SELECT word FROM note")] == ["kept"]
        database.close()


def test_numbers_of_every_size_make_one_prepared_statement(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        database = open_database(url)
        with database.write_transaction() as connection:
            connection.execute("CREATE TABLE reading (id INTEGER, number BIGINT)")
            for number in (1, 2, 70_000, 70_001, 5_000_000_000, -3_000_000_000):
                connection.execute("INSERT INTO reading VALUES (?, ?)", (7, number))
            plans = connection.execute(
                "SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'INSERT%'"
            ).fetchall()
            kept = connection.execute("SELECT number FROM reading").fetchall()

        assert [row["number"] for row in kept] == [
            1,
            2,
            70_000,
            70_001,
            5_000_000_000,
            -3_000_000_000,
        ]
        assert [row["statement"] for row in plans] == ["INSERT INTO reading VALUES ($1, $2)"]
        database.close()


def test_a_name_that_stands_twice_is_one_value(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        database = open_database(url)
        with database.read_transaction() as connection:
            row = connection.execute(
                "SELECT :b AS b, :a AS a, :b AS again", {"a": "first", "b": "second", "c": "none"}
            ).fetchone()
            by_place = connection.execute("SELECT ? AS one, ? AS two", ("a", "b")).fetchone()

        assert list(row) == ["second", "first", "second"]
        assert list(by_place) == ["a", "b"]
        database.close()


def test_many_rows_are_written_at_once_and_the_first_error_is_told(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        database = open_database(url)
        insert = "INSERT INTO reading VALUES (?, ?)"
        with database.write_transaction() as connection:
            connection.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY, word TEXT)")
            connection.executemany(insert, [(n, None if n % 3 else f"{n}") for n in range(1200)])
        rows = [(n, "again") for n in range(1199, 1210)]
        with (
            pytest.raises(psycopg.errors.UniqueViolation),
            database.write_transaction() as connection,
        ):
            connection.executemany(insert, rows)
        with database.write_transaction() as connection:
            connection.executemany(insert, rows[1:])

        with database.read_transaction() as connection:
            counts = connection.execute("SELECT COUNT(*), COUNT(word) FROM reading").fetchone()
        assert list(counts) == [1210, 410]
        database.close()


def test_the_statements_used_last_stay_prepared(postgresql: Cluster) -> None:
    with postgresql.database() as url:
        database = open_database(url)
        with database.read_transaction() as connection:
            for number in range(230):
                for _ in range(2):
                    connection.execute(f"SELECT {number} + ?", (1,))
            prepared = connection.execute("SELECT COUNT(*) FROM pg_prepared_statements").fetchone()
            again = connection.execute("SELECT 0 + ?", (1,)).fetchone()

        assert prepared[0] == 200
        assert again[0] == 1
        database.close()
