"""A process that runs beside the server: started when that is ready, restarted, ended with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

__all__ = ["Companion", "end_with_parent"]

# Before a process that ended by itself is started again: at first, and at most; doubled each time
# that it did not last as long as the most. Chosen.
_FIRST_WAIT_SECONDS, _MOST_WAIT_SECONDS = 1.0, 60.0
# How long after SIGTERM it is killed. Chosen: a batch of the lake takes some seconds.
_END_SECONDS = 5.0


class Companion:
    """Keeps one process running until it is told to end."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._command: Sequence[str] = (sys.executable, "-m", module)
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def start(self) -> None:
        """Start the process, and a thread that starts it again whenever it ends."""
        threading.Thread(target=self._keep_running, daemon=True).start()

    def stop(self) -> None:
        """End the process, and wait until it has ended."""
        self._ending.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _keep_running(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while True:
            with self._lock:
                if self._ending.is_set():
                    return
                # Its standard input closes when this process ends, however that ends.
                process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
                    self._command, env=self._environment, stdin=subprocess.PIPE
                )
                self._process = process
            started = time.monotonic()
            process.wait()
            has_lasted = time.monotonic() - started > _MOST_WAIT_SECONDS
            wait = _FIRST_WAIT_SECONDS if has_lasted else min(2 * wait, _MOST_WAIT_SECONDS)
            if self._ending.wait(wait):
                return


def end_with_parent() -> None:
    """End this process when the one whose companion it is has ended."""
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    # Returns at the end of the pipe.
    sys.stdin.buffer.read()
    os._exit(0)
