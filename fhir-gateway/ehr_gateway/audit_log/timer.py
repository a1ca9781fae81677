"""A thread that calls a function at intervals, and once more when it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ehr_fhir.errors import Conflict

__all__ = ["Timer"]

_LOG = logging.getLogger(__name__)
# The last call is repeated when it fails, as on a server under heavy load. Chosen: a stop still
# takes less than three seconds when each call waits its whole term for a database.
_LAST_CALLS = 3


class Timer:
    """Calls `action` every `seconds`; 0 means never. `name` is for the process's log."""

    def __init__(self, name: str, action: Callable[[], object], seconds: float) -> None:
        self._what = name
        self._do = action
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._seconds > 0 and self._thread is None:
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
        while not self._stopping.wait(self._seconds):
            self._call()
        for _ in range(_LAST_CALLS):
            if self._call():
                return

    def _call(self) -> bool:
        """Call the action; return whether it did not fail."""
        try:
            self._do()
        except Conflict as error:
            _LOG.critical("No %s: %s", self._what, error)
        except Exception as error:
            # Tried again at the next interval. Without the error's text, which may hold values.
            _LOG.error("No %s: %s.", self._what, type(error).__name__)
        else:
            return True
        return False
