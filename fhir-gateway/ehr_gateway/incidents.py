"""Incidents: conditions an operator must know of, logged as they begin, last and end.

A full disk or a database that is away fails every request that needs it. Each failure on its own
would fill the log; here the condition is logged when it begins, once a minute while it is still
seen, and when it is over. `/readyz` names those that last.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

__all__ = ["CLOCK_BEHIND", "DATABASE_AWAY", "WRITES_REFUSED", "Incidents"]

_LOG = logging.getLogger("ehr_gateway")
# Chosen: often enough that a tail of the log shows it, seldom enough not to fill the disk.
_REPEAT_SECONDS = 60.0

DATABASE_AWAY = "database-away"
WRITES_REFUSED = "writes-refused"
CLOCK_BEHIND = "clock-behind"


@dataclass(slots=True)
class _Incident:
    """A condition that lasts: what the operator is told, and when that was logged."""

    text: str
    began: float
    logged: float


class Incidents:
    """The incidents of one database, as this process sees them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, _Incident] = {}

    def begin(self, name: str, text: str) -> None:
        """Record that a condition is seen; log it unless that was done within the last minute."""
        now = time.monotonic()
        with self._lock:
            incident = self._active.get(name)
            if incident is not None and now - incident.logged < _REPEAT_SECONDS:
                return
            began = incident.began if incident is not None else now
            self._active[name] = _Incident(text, began, now)
        _LOG.critical("%s", text)

    def end(self, name: str) -> None:
        """Record that a condition is over; costs a look-up when it was not there."""
        if name not in self._active:
            return
        with self._lock:
            incident = self._active.pop(name, None)
        if incident is not None:
            seconds = time.monotonic() - incident.began
            _LOG.critical("Over after %.0f s: %s", seconds, incident.text)

    def text_of(self, name: str) -> str | None:
        """Return what the operator is told of a condition; None when it does not last."""
        incident = self._active.get(name)
        return incident.text if incident else None
