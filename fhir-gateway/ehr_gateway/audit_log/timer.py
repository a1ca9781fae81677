"""A thread that does something at intervals, and once more when it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ehr_fhir.errors import Conflict

__all__ = ["Timer"]

_LOG = logging.getLogger(__name__)


class Timer:
    """Does what it is given every so many seconds; 0 is never."""

    def __init__(self, name: str, action: Callable[[], object], seconds: float) -> None:
        self._what = name
        self._do = action
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        if self._seconds > 0:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, after doing it once more."""
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
                # It is tried again; and never the text of a foreign error.
                _LOG.error("No %s: %s.", self._what, type(error).__name__)
