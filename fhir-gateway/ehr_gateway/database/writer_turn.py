"""The writer's turn on SQLite: a file lock between processes, with a bound on the wait for it.

`flock` wakes a waiting process at once, which matters when several workers write in turns, but it
cannot be given a time limit. So a thread of its own waits where the lock is taken, and the writer
waits for that thread. When the writer gives up, the thread goes on waiting and the next writer
joins it; a lock that nobody waits for any more is released at once.
"""

from __future__ import annotations

import fcntl
import threading
from contextlib import suppress
from typing import IO

__all__ = ["WriterTurn"]


class _Wait:
    """A thread's wait for the file lock."""

    def __init__(self) -> None:
        self.granted = threading.Event()
        self.is_wanted = True


class WriterTurn:
    """The lock of one file, for one writer of this process at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        # Held for a moment only, never over a wait.
        self._state_lock = threading.Lock()
        self._wait: _Wait | None = None

    def try_acquire(self) -> bool:
        """Take the lock if no other process has it. The caller is this process's only writer."""
        with self._state_lock:
            return self._wait is None and self._try_lock()

    def acquire(self, seconds: float) -> bool:
        """Take the lock within some seconds. The caller is this process's only writer."""
        with self._state_lock:
            if self._wait is None:
                if self._try_lock():
                    return True
                self._wait = _Wait()
                threading.Thread(
                    target=self._wait_for_lock,
                    args=(self._wait,),
                    name="writer's turn",
                    daemon=True,
                ).start()
            wait = self._wait
            wait.is_wanted = True
        wait.granted.wait(seconds)
        with self._state_lock:
            if wait.granted.is_set():
                self._wait = None
                return True
            wait.is_wanted = False
            return False

    def release(self) -> None:
        """Let the next writer of any process have the lock."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(self, wait: _Wait) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except (OSError, ValueError):
            # The database was closed meanwhile, and the file with it.
            return
        with self._state_lock:
            if wait.is_wanted:
                wait.granted.set()
            else:
                self._wait = None
                with suppress(ValueError):
                    fcntl.flock(self._file, fcntl.LOCK_UN)
