"""Log-in sessions are kept in one file by all worker processes."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

from ehr_portal.web.sessions import SessionStore

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
