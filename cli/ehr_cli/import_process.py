"""The gateway's port for imports, filled with a process of its own that carries them out.

Checking and storing a file takes a processor for as long as it lasts; in the gateway's process all
requests would wait for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

from ehr_cli.settings import Settings, to_environment

__all__ = ["ImportProcess"]

_MODULE = "ehr_cli.server.import_worker"
# A process that did not end well is started again after so many seconds each: one time more than
# an import is tried, so that the last one says that it failed.
_RESTART_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)


class ImportProcess:
    """Starts the process when there is something to do; at most one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._environment: Mapping[str, str] = {**os.environ, **to_environment(settings)}
        self._lock = threading.Lock()
        self._is_running = False
        self._is_wanted = False

    def start(self) -> None:
        """Begin with what waits; what came while the process ran is done by another one."""
        with self._lock:
            self._is_wanted = True
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="imports", daemon=True).start()

    def _run(self) -> None:
        restarts = 0
        while True:
            with self._lock:
                if not self._is_wanted:
                    self._is_running = False
                    return
                self._is_wanted = False
            # Its standard input closes when this process ends, however that ends.
            process = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
                (sys.executable, "-m", _MODULE), env=self._environment, stdin=subprocess.PIPE
            )
            if process.wait() and restarts < len(_RESTART_SECONDS):
                time.sleep(_RESTART_SECONDS[restarts])
                restarts += 1
                with self._lock:
                    self._is_wanted = True
