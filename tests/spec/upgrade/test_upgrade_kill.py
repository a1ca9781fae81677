"""`ehr upgrade` killed with SIGKILL at many places: run again it completes, and nobody saw half."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.postgresql import PostgresqlConnection
from ehr_gateway.database.sqlite import SqliteConnection
from ehr_gateway.migrations import exclusive, upgrade
from ehr_gateway.migrations.recompute import recompute_batch
from ehr_gateway.migrations.upgrade import read_state
from ehr_gateway.schema.revision import HEAD
from ehr_gateway.store.store import Store
from tests.lib.old_store import OldStore

# How often it is killed, each time at another statement, one after the other on the same store.
PLACES = 8
# Made anew at each opening, or at random.
OWN = {"setting"}


def upgrade_until(place: Path | str, stop_at: int, told: Connection) -> None:
    """Upgrade, in small batches; kill this process before or after a statement.

    Changes modules under its feet: for a process of its own.
    """
    passed = 0

    def count(*_: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            count()
            answer = function(*arguments, **options)
            count()
            return answer

        return call

    for kind in (SqliteConnection, PostgresqlConnection, psycopg.Connection):
        setattr(kind, "execute", counted(kind.execute))  # noqa: B010 - mypy minds an assignment
    connect = partial(sqlite3.connect, factory=SqliteConnection)
    setattr(exclusive.sqlite3, "connect", connect)  # type: ignore[attr-defined]  # noqa: B010
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, count)
    setattr(upgrade, "recompute_batch", partial(recompute_batch, limit=10))  # noqa: B010
    upgrade.upgrade(place, lambda progress: None)
    told.send(passed)


def run(old_store: OldStore, stop_at: int) -> int:
    """Upgrade in a process of its own; return how many places it passed, 0 where it was killed."""
    # Forked: to import everything anew takes ten times as long as the upgrade.
    context = get_context("fork")
    told, telling = context.Pipe(duplex=False)
    child = context.Process(target=upgrade_until, args=(old_store.place, stop_at, telling))
    child.start()
    child.join(120)
    if child.exitcode == -signal.SIGKILL:
        return 0
    assert child.exitcode == 0
    return int(told.recv())


def check_closed(old_store: OldStore) -> None:
    """See that a store is as it was before, or done, or refused."""
    state = read_state(old_store.place)
    if state.revision == HEAD and not state.upgrading:
        Store(old_store.place).close()
        return
    with pytest.raises(Unavailable, match="`ehr upgrade`"):
        Store(old_store.place)
    settings = {row["name"] for row in old_store.tables()["setting"]}
    # The old version opens it only where nothing has changed.
    assert state.upgrading != ("layout" in settings)


def content(old_store: OldStore) -> dict[str, list[dict[str, Any]]]:
    """Return all rows but those of the settings."""
    return {name: rows for name, rows in old_store.tables().items() if name not in OWN}


@pytest.fixture
def tampered(old_store: OldStore) -> OldStore:
    """Return a store of which much is to be worked out anew."""
    old_store.execute("UPDATE idx_date SET low = low + 3600000")
    old_store.execute("UPDATE resource SET clinical_date = 7")
    return old_store


def test_killed_again_and_again_it_comes_to_the_same_end(
    tampered: OldStore, old_store_copy: OldStore
) -> None:
    for statement in (
        "UPDATE idx_date SET low = low + 3600000",
        "UPDATE resource SET clinical_date = 7",
    ):
        old_store_copy.execute(statement)
    places = run(old_store_copy, -1)
    expected = content(old_store_copy)
    killed = 0
    for number in range(1, PLACES + 1):
        killed += not run(tampered, places * number // (PLACES + 1))
        check_closed(tampered)
    run(tampered, -1)

    assert killed >= PLACES // 2
    assert content(tampered) == expected
    Store(tampered.place).close()
