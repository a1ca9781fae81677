"""A thread that calls a function at intervals, and once more when it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ehr_fhir.errors import Conflict

__all__ = ["Timer"]

_LOG = logging.getLogger(__name__)


class Timer:
    """Calls `action` every `seconds`; 0 means never. `name` is for the process's log."""

    def __init__(self, name: str, action: Callable[[], object], seconds: float) -> None:
        self._what = name
        self._do = action
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, or restart, the thread."""
        if self._seconds > 0:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Call the action once more, then stop."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stopping.wait(self._seconds)
            try:
                self._do()
            except Conflict as error:
                _LOG.critical("No %s: %s", self._what, error)
            except Exception as error:
                # Tried again at the next interval. Without the error's text, which may hold values.
                _LOG.error("No %s: %s.", self._what, type(error).__name__)
