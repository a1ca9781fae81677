"""Log-in sessions are kept in one file by all worker processes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ehr_portal.web.sessions import SessionStore, SessionsUnwritable, User

WORKERS, ROUNDS = 8, 20


def test_workers_that_start_at_once_begin_the_file_together(tmp_path: Path) -> None:
    begun: list[SessionStore] = []
    # One that fails frees the others, and is missing in the end.
    together = threading.Barrier(WORKERS, timeout=5)

    def begin() -> None:
        for number in range(ROUNDS):
            path = tmp_path / f"{number}.db"
            together.wait()
            begun.append(SessionStore(path, timedelta(hours=1), timedelta(hours=8), time.time))

    threads = [threading.Thread(target=begin) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(begun) == WORKERS * ROUNDS
    last = begun[-WORKERS:]
    session = last[0].start()
    assert all(one.load(session.id) for one in last)


USER = User("Chan", "", "patient", None, "pat-1", "token")


def open_store(path: Path) -> SessionStore:
    return SessionStore(path, timedelta(hours=1), timedelta(hours=8), time.time)


def take_writes(store: SessionStore, yes: bool) -> None:
    """Let SQLite refuse writes as on a disk that takes none, or take them again."""
    store._db.execute(f"PRAGMA query_only = {'OFF' if yes else 'ON'}")


def test_what_a_page_changes_is_kept_until_the_disk_has_room(tmp_path: Path) -> None:
    store, other = (open_store(tmp_path / "sessions.db") for _ in range(2))
    session = store.start(USER)
    take_writes(store, False)

    session.add_flash("done", "Saved.")
    store.save(session)
    kept = store.load(session.id)
    assert kept is not None and kept.user == USER
    assert kept.flashes == [["done", "Saved."]]

    take_writes(store, True)
    store.save(kept)
    written = other.load(session.id)
    assert written is not None and written.flashes == [["done", "Saved."]]


def test_no_session_begins_or_ends_unsaid_on_a_full_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sessions.db")
    session = store.start(USER)
    take_writes(store, False)

    with pytest.raises(SessionsUnwritable, match="cannot be written"):
        store.start(USER)
    with pytest.raises(SessionsUnwritable, match="cannot be written"):
        store.end(session.id)
    # Here it has ended all the same.
    assert store.load(session.id) is None

    take_writes(store, True)
    store.end(session.id)
    assert open_store(tmp_path / "sessions.db").load(session.id) is None


def test_a_file_that_cannot_grow_says_that_the_disk_is_full(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sessions.db")
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")

    with pytest.raises(SessionsUnwritable, match="full"):
        for _ in range(100):
            store.start(USER)


def test_of_two_requests_at_once_neither_undoes_what_the_other_changed(tmp_path: Path) -> None:
    store, other = (open_store(tmp_path / "sessions.db") for _ in range(2))
    session = store.start(replace(USER, role="carer"))
    session.add_flash("done", "Shown by the slow page.")
    store.save(session)
    slow, quick = store.load(session.id), other.load(session.id)
    assert slow is not None
    assert quick is not None

    # Acts for another person from now on, while a page of the first is still being made.
    quick.user = replace(USER, role="carer", patient="pat-2")
    handle = quick.issue_handle("words")
    quick.add_flash("done", "Left by the quick one.")
    other.save(quick)
    slow.take_flashes()
    slow_handle = slow.issue_handle("other words")
    slow.unread = 3
    store.save(slow)

    kept = store.load(session.id)
    assert kept is not None
    assert kept.user is not None
    assert kept.user.patient == "pat-2"
    assert (kept.resolve_handle(handle), kept.resolve_handle(slow_handle)) == (
        "words",
        "other words",
    )
    assert kept.flashes == [["done", "Left by the quick one."]]
    assert kept.unread == 3
    # What changed nothing writes nothing, and a session that was ended stays ended.
    late = store.load(session.id)
    assert late is not None
    other.end(session.id)
    late.unread = 5
    store.save(late)
    assert other.load(session.id) is None
