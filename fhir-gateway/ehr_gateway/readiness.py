"""Readiness of one process: whether its database answers and takes writes, and its disk too.

The check runs on a thread of its own and only when somebody asks; that all is well is kept for a
second. An answer never waits longer than a moment: a check that hangs says as much as one that
fails.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ehr_fhir.errors import EhrError, Unavailable
from ehr_gateway.database import DATABASE_ERRORS
from ehr_gateway.incidents import CLOCK_BEHIND, DATABASE_AWAY, WRITES_REFUSED
from ehr_gateway.store.store import Store

__all__ = ["Readiness", "ReadinessState"]

# Chosen: a proxy and an orchestrator may both ask every second.
_KEPT_SECONDS = 1.0
# How long an answer waits for the check. Chosen: below the second within which probes give up.
_ANSWER_SECONDS = 0.8
# What must fit on the disk of the data folder: audit rows and the database's log, for a moment.
_TRIAL_BYTES = 1 << 20


@dataclass(frozen=True)
class ReadinessState:
    """Whether requests will be answered; `problem` says why not, `warnings` what else to mend."""

    problem: str | None = None
    warnings: tuple[str, ...] = ()


class Readiness:
    """The newest check of one process."""

    def __init__(self, store: Store, data: Path) -> None:
        self._store = store
        self._data = data
        self._thread = ThreadPoolExecutor(1, "readiness")
        self._check: asyncio.Future[ReadinessState] | None = None
        self._began = 0.0

    async def state(self) -> ReadinessState:
        """Return the state; check anew unless it was ready within the last second."""
        if self._check is None or (self._check.done() and not self._is_kept(self._check.result())):
            self._began = time.monotonic()
            loop = asyncio.get_running_loop()
            self._check = loop.run_in_executor(self._thread, self._run_check)
        done, _ = await asyncio.wait({self._check}, timeout=_ANSWER_SECONDS)
        if not done:
            return ReadinessState("The database or the disk does not answer.")
        return self._check.result()

    def _is_kept(self, state: ReadinessState) -> bool:
        incidents = self._store.incidents
        # What a request has run into since then.
        has_incident = any(map(incidents.text_of, (DATABASE_AWAY, WRITES_REFUSED)))
        is_recent = time.monotonic() - self._began <= _KEPT_SECONDS
        return state.problem is None and is_recent and not has_incident

    def close(self) -> None:
        """Let go of the thread; a check that hangs is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run_check(self) -> ReadinessState:
        incidents = self._store.incidents
        try:
            self._check_database()
            _write_trial_file(self._data)
            if incidents.text_of(WRITES_REFUSED):
                # Until a write goes through. Ends the incident if it does.
                with self._store.write_transaction() as connection:
                    connection.execute(
                        "INSERT INTO setting VALUES ('write-trial', ?)"
                        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                        (uuid.uuid4().bytes,),
                    )
        except EhrError as error:
            return ReadinessState(str(error))
        except DATABASE_ERRORS:
            return ReadinessState("The database does not answer.")
        except OSError as error:
            text = f"The data folder cannot be written ({os.strerror(error.errno or 0)})."
            incidents.begin(WRITES_REFUSED, text)
            return ReadinessState(text)
        warning = incidents.text_of(CLOCK_BEHIND)
        return ReadinessState(None, (warning,) if warning else ())

    def _check_database(self) -> None:
        with self._store.read_transaction(single_statement=True) as connection:
            connection.execute("SELECT 1 FROM audit LIMIT 1").fetchone()
            if self._store.dialect == "postgresql":
                row = connection.execute("SHOW transaction_read_only").fetchone()
                if row[0] == "on":
                    text = "The database server takes no writes: it is read-only, or a standby."
                    raise Unavailable(text)


def _write_trial_file(folder: Path) -> None:
    """Raise OSError unless the folder's disk has room for a moment's work."""
    # Without a name where the system can, so that a process that is killed leaves nothing behind.
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, _TRIAL_BYTES)
        else:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
