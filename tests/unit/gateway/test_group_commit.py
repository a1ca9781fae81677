"""Writers that wait share one commit; the failure of one takes back its own work alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ehr_gateway.database import Connection
from ehr_gateway.database.group_commit import GroupCommit
from ehr_gateway.store.store import Store


class Journal:
    """Records the statements of a transaction in place of a database."""

    dialect = "sqlite"

    def __init__(self, *, broken_commit: bool = False) -> None:
        self.said: list[str] = []
        self.broken_commit = broken_commit

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Note a statement."""
        self.said.append(sql)

    def executemany(self, sql: str, rows: Any, /) -> None:
        """Note a statement."""
        self.said.append(sql)

    def begin(self) -> Journal:
        """Open a transaction."""
        self.said.append("BEGIN")
        return self

    def end(self, journal: Journal, keep: bool) -> None:
        """Close it."""
        self.said.append("COMMIT" if keep else "ROLLBACK")
        if keep and self.broken_commit:
            raise OSError("no space")


def together(journal: Journal, works: Sequence[Callable[[Journal], None]]) -> list[object]:
    """Run works as one group: each next writer waits before the one before ends."""
    group: GroupCommit[Any] = GroupCommit(journal.begin, journal.end)
    results: list[object] = [None] * len(works)
    threads: list[threading.Thread] = []

    def run(number: int) -> None:
        try:
            with group.write_transaction() as connection:
                if number + 1 < len(works):
                    start(number + 1)
                    while not group._waiting:
                        threading.Event().wait(0.001)
                works[number](connection)
            results[number] = "done"
        except Exception as error:
            results[number] = error

    def start(number: int) -> None:
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()

    start(0)
    while any(thread.is_alive() for thread in threads):
        for thread in list(threads):
            thread.join()
    return results


def note(text: str) -> Callable[[Journal], None]:
    return lambda journal: journal.execute(text)


def fail(journal: Journal) -> None:
    journal.execute("bad")
    raise ValueError("bad")


def test_writers_that_wait_share_one_commit() -> None:
    journal = Journal()

    results = together(journal, [note("a"), note("b"), note("c")])

    assert results == ["done"] * 3
    assert journal.said == [
        "BEGIN", "a",
        "SAVEPOINT member", "b", "RELEASE SAVEPOINT member",
        "SAVEPOINT member", "c", "RELEASE SAVEPOINT member",
        "COMMIT",
    ]  # fmt: skip


def test_a_member_that_fails_takes_back_its_own_work_alone() -> None:
    journal = Journal()

    results = together(journal, [note("a"), fail, note("c")])

    assert [type(one) for one in results] == [str, ValueError, str]
    assert journal.said.count("COMMIT") == 1
    assert "ROLLBACK TO SAVEPOINT member" in journal.said


def test_the_first_to_fail_ends_the_transaction_and_the_next_opens_another() -> None:
    journal = Journal()

    results = together(journal, [fail, note("b")])

    assert [type(one) for one in results] == [ValueError, str]
    assert journal.said == ["BEGIN", "bad", "ROLLBACK", "BEGIN", "b", "COMMIT"]


def test_a_commit_that_fails_is_told_to_every_member() -> None:
    results = together(Journal(broken_commit=True), [note("a"), note("b"), note("c")])

    assert [type(one) for one in results] == [OSError] * 3


@pytest.mark.parametrize("bad", [3, 7])
def test_what_one_writer_loses_the_others_of_its_group_keep(store: Store, bad: int) -> None:
    barrier = threading.Barrier(16)
    failures: list[BaseException] = []

    def put(connection: Connection, number: int) -> None:
        name = f"put-{number % 16:02}-{number}"
        connection.execute("INSERT INTO setting VALUES (?, ?)", (name, b"x"))

    def work(number: int) -> None:
        barrier.wait()
        for round_ in range(5):
            try:
                with store.write_transaction() as connection:
                    put(connection, number + 16 * round_)
                    if number == bad:
                        raise KeyError
            except KeyError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with store.read_transaction() as connection:
        kept = connection.execute("SELECT name FROM setting WHERE name LIKE ?", ("put-%",))
        names = [row[0].removeprefix("put-") for row in kept]
    assert len(failures) == 5
    assert len(names) == 15 * 5
    assert not any(name.startswith(f"{bad:02}-") for name in names)
