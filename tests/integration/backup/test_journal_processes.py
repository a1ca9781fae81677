"""The journal of several processes, some of them killed: it never lacks what the store has."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ehr_gateway.journal.entries import (
    ChainHead,
    ClassifiedEntries,
    Entry,
    classify_entries,
    open_entries_after,
)
from ehr_gateway.journal.journal import journal_path, read_journal_key
from ehr_gateway.store.store import Store
from tests.lib.postgresql import Cluster

# Closes one thing after the other, each with a row in the store; takes every fifth back.
WRITER = """
import sys
from pathlib import Path
from ehr_gateway.journal.redo_actions import build_client_redo, append_redo_actions
from ehr_gateway.store.store import Store

place, folder, name = sys.argv[1:]
store = Store(place if place.startswith("postgresql:") else Path(place))
store.attach_journal(Path(folder) / "journal", Path(folder) / "keys")
print("begin", flush=True)
for number in range(10_000):
    client = f"{name}-{number}"
    try:
        with store.write_transaction() as connection:
            connection.execute("INSERT INTO load_ledger VALUES ('t', ?, ?)", (client, b""))
            append_redo_actions(connection, [build_client_redo(client)])
            if number % 5 == 4:
                raise RuntimeError
    except RuntimeError:
        pass
    if number % 7 == 6:
        store.resolve_journal()
"""


# Connections of the database that are in the middle of something.
_AT_WORK = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND state <> 'idle'"
)


@pytest.fixture
def place(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if database == "sqlite":
        yield str(tmp_path / "ehr.db")
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.database() as url:
        yield url


def test_what_is_in_the_store_is_on_the_journal_whoever_is_killed(
    tmp_path: Path, place: str
) -> None:
    store = Store(place if place.startswith("postgresql:") else Path(place))
    store.attach_journal(tmp_path / "journal", tmp_path / "keys")
    key = read_journal_key(tmp_path / "keys") or b""
    path = journal_path(tmp_path / "journal", store.epoch().store)

    def outcome() -> ClassifiedEntries:
        return classify_entries(
            open_entries_after(path.read_bytes(), ChainHead(), key, store.epoch().store)
        )

    def stored() -> set[str]:
        with store.read_transaction() as connection:
            rows = connection.execute("SELECT id FROM load_ledger WHERE type = 't'").fetchall()
        return {row[0] for row in rows}

    def is_at_work() -> bool:
        if not place.startswith("postgresql:"):
            return False
        with psycopg.connect(place) as connection:
            return bool(connection.execute(_AT_WORK).fetchall())

    for round_number in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, place, str(tmp_path), f"w{round_number}{number}"],
                stdout=subprocess.PIPE,
            )
            for number in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begin\n"
        while len(stored()) < 8 * (round_number + 1):
            time.sleep(0.01)
        time.sleep(random.Random(round_number).uniform(0, 0.4))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.communicate()
        # The server of a database ends what a killed client had begun.
        while is_at_work():
            time.sleep(0.01)
        found, there = outcome(), stored()
        known, in_doubt = names(found.committed), names(found.in_doubt)
        assert set(known) <= there <= {*known, *in_doubt}
        store.resolve_journal()
        assert set(names(outcome().committed)) == there
        assert outcome().in_doubt == ()
    assert len(stored()) > 10
    store.close()


def names(entries: tuple[Entry, ...]) -> list[str]:
    return [str(action["client"]) for entry in entries for action in entry.redo_actions]
