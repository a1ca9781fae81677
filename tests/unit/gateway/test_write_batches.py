"""Short writes share a transaction on both databases: each for itself, one journal entry."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import NotFound, Unavailable
from ehr_gateway.database import (
    DATABASE_ERRORS,
    Connection,
    JournaledDatabase,
    PostgresqlDatabase,
    SqliteDatabase,
    open_database,
)
from ehr_gateway.deadline import Deadline, deadline_of
from ehr_gateway.incidents import WRITES_REFUSED
from ehr_gateway.journal.redo_actions import append_redo_actions
from ehr_gateway.transaction.cooperative_writer import CooperativeWriter
from ehr_gateway.transaction.event_loop_writer import EventLoopWriter
from ehr_gateway.transaction.write_batch import BatchWriter
from tests.lib.loops import run
from tests.lib.writes import TIMEOUT_S, many, put, refuse, words


@pytest.fixture
def opened(place: Path | str) -> Iterator[JournaledDatabase]:
    one = open_database(place)
    with one.write_transaction() as connection:
        connection.execute("DROP TABLE IF EXISTS word")
        connection.execute("CREATE TABLE word (text TEXT PRIMARY KEY)")
    yield one
    one.close()


def create_writer(database: JournaledDatabase) -> BatchWriter:
    if isinstance(database, SqliteDatabase):
        return EventLoopWriter(database)
    assert isinstance(database, PostgresqlDatabase)
    return CooperativeWriter(database)


def fail(connection: Connection) -> str:
    put(connection, "twice")
    return put(connection, "twice")


def test_each_write_is_answered_with_its_own_result(opened: JournaledDatabase) -> None:
    wanted = [f"w{number}" for number in range(50)]

    assert many(create_writer(opened), [partial(put, text=text) for text in wanted]) == wanted
    assert words(opened) == set(wanted)


def test_one_that_is_refused_takes_back_its_own_work_alone(opened: JournaledDatabase) -> None:
    first, second, third = many(
        create_writer(opened), [partial(put, text="a"), refuse, partial(put, text="b")]
    )

    assert (first, third) == ("a", "b")
    assert isinstance(second, NotFound)
    assert words(opened) == {"a", "b"}


def test_one_that_the_database_refuses_takes_back_its_own_work_alone(
    opened: JournaledDatabase,
) -> None:
    first, second, third = many(
        create_writer(opened), [partial(put, text="a"), fail, partial(put, text="b")]
    )

    assert (first, third) == ("a", "b")
    assert isinstance(second, DATABASE_ERRORS)
    assert words(opened) == {"a", "b"}


def test_a_write_that_goes_on_after_a_failed_statement_is_not_told_as_made(
    opened: JournaledDatabase,
) -> None:
    if isinstance(opened, SqliteDatabase):
        pytest.skip("SQLite takes back the failed statement alone.")

    def go_on(connection: Connection) -> str:
        put(connection, "a")
        with suppress(*DATABASE_ERRORS):
            put(connection, "a")
        return "made"

    (answer,) = many(create_writer(opened), [go_on])

    assert answer != "made"
    assert words(opened) == set()


def test_the_write_of_a_request_whose_time_is_over_is_not_made(opened: JournaledDatabase) -> None:
    writer = create_writer(opened)

    async def both() -> list[Any]:
        with deadline_of(Deadline(0)):
            late = asyncio.ensure_future(writer.write(partial(put, text="late")))
        with deadline_of(Deadline(time.monotonic() + TIMEOUT_S)):
            early = asyncio.ensure_future(writer.write(partial(put, text="early")))
        return list(await asyncio.gather(late, early, return_exceptions=True))

    late, early = run(both())

    assert isinstance(late, Unavailable)
    assert early == "early"
    assert words(opened) == {"early"}


def test_a_write_that_is_made_ends_the_refusal_of_writes(opened: JournaledDatabase) -> None:
    opened.incidents.begin(WRITES_REFUSED, "The disk was full.")

    assert many(create_writer(opened), [partial(put, text="a")]) == ["a"]

    assert not opened.incidents.text_of(WRITES_REFUSED)


def test_a_writer_of_another_thread_is_waited_for_without_the_loop(
    opened: JournaledDatabase,
) -> None:
    begun, end = threading.Event(), threading.Event()

    def long() -> None:
        with opened.write_transaction() as connection:
            put(connection, "long")
            begun.set()
            end.wait(TIMEOUT_S)

    async def both() -> str:
        other = threading.Thread(target=long)
        other.start()
        begun.wait(TIMEOUT_S)
        waiting = asyncio.ensure_future(create_writer(opened).write(partial(put, text="short")))
        await asyncio.sleep(0)
        # The loop goes on: it is what lets the other end.
        end.set()
        answer = await waiting
        other.join()
        return answer

    assert run(both()) == "short"
    assert words(opened) == {"long", "short"}


class Journal:
    """A journal that notes each entry, and which words are committed by then."""

    def __init__(self, database: JournaledDatabase, error: Exception | None = None) -> None:
        self.entries: list[list[Any]] = []
        self.committed: list[set[str]] = []
        self._database, self._error = database, error

    def append(self, connection: Connection, redo_actions: Sequence[Any], /) -> None:
        """Append one entry, or fail."""
        if self._error is not None:
            raise self._error
        self.entries.append(list(redo_actions))
        self.committed.append(words(self._database))


def take_away(connection: Connection, text: str) -> str:
    append_redo_actions(connection, [{"kind": text}])
    return put(connection, text)


def take_away_in_vain(connection: Connection) -> str:
    take_away(connection, "half")
    raise NotFound("no")


def test_a_batch_is_one_entry_of_the_journal_before_its_commit(opened: JournaledDatabase) -> None:
    journal = opened.journal = Journal(opened)

    first, _, refused, last = many(
        create_writer(opened),
        [
            partial(take_away, text="a"),
            partial(put, text="b"),
            take_away_in_vain,
            partial(take_away, text="c"),
        ],
    )

    assert (first, last) == ("a", "c")
    assert isinstance(refused, NotFound)
    assert journal.entries == [[{"kind": "a"}, {"kind": "c"}]]
    assert journal.committed == [set()]
    assert words(opened) == {"a", "b", "c"}


def test_a_journal_that_takes_nothing_lets_nothing_be_taken_away(opened: JournaledDatabase) -> None:
    opened.journal = Journal(opened, Unavailable("full"))

    answers = many(
        create_writer(opened), [partial(take_away, text="a"), partial(take_away, text="b")]
    )

    assert [str(answer) for answer in answers] == ["full", "full"]
    assert many(create_writer(opened), [partial(put, text="c")]) == ["c"]
    assert words(opened) == {"c"}


def test_a_batch_without_what_is_taken_away_leaves_the_journal_alone(
    opened: JournaledDatabase,
) -> None:
    journal = opened.journal = Journal(opened)

    def explode(connection: Connection) -> str:
        take_away(connection, "a")
        raise KeyboardInterrupt

    assert many(create_writer(opened), [partial(put, text="b")]) == ["b"]
    with pytest.raises(KeyboardInterrupt):
        run(create_writer(opened).write(explode))

    assert opened.journal is journal
    assert journal.entries == []
    assert words(opened) == {"b"}
