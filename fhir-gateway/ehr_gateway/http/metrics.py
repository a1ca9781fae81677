"""Counts of requests by method, route and status, summed over the workers, for Prometheus.

No ids and no parameters: a request is counted by the path of its route, never by its address.

Each process counts in a file of prometheus-client's multiprocess mode, and any of them answers with
the sum over the folder. The library's own switch for that mode is an environment variable that it
reads when it is imported, before the data folder is known and once for all gateways of a process;
so its file (`MmapedDict`) and its collector are used here without its `Counter`.

A file is one process's while that process holds the lock on it. The successor of a worker that died
takes over its file and goes on counting, so no sum ever goes down and the folder does not grow.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from ehr_gateway.file_lock import open_locked

__all__ = ["Metrics", "clear_counts"]

_NAME, _HELP = "ehr_http_requests", "Requests answered, by method, route and status."
_LABELS = ["method", "route", "status"]
# A client may send any word as a method; each would be a series of its own.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Room for about 700 series of 180 bytes: a hundred routes, each with a few statuses. It grows.
_FILE_BYTES = 128 * 1024


class Metrics:
    """The counters of one process, and the sums of all that share its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        # Taken at the first request: a process that serves none needs no file.
        self._file: _CountFile | None = None

    def count(self, scope: Scope, status: int) -> None:
        """Count one request; on a full disk the count is lost rather than the answer."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with self._lock:
            if self._file is None:
                try:
                    self._file = _take_file(self._folder)
                except OSError:
                    return
            self._file.increment(method, route, status)

    def render(self) -> bytes:
        """Return the sums over all processes in Prometheus' text form.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     metrics = Metrics(Path(folder))
        ...     metrics.count({"type": "http", "method": "GET"}, 404)
        ...     print(metrics.render().decode().splitlines()[-1])
        ...     metrics.close()
        ehr_http_requests_total{method="GET",route="none",status="404"} 1.0
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # The library's class has no types.
        sums = MultiProcessCollector(None, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(sums)

    def close(self) -> None:
        """Let go of this process's file; its counts stay for whoever takes it next."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def clear_counts(folder: Path) -> None:
    """Begin at zero: remove the files that no process has."""
    for path in folder.glob("counter_*.db"):
        lock = _try_lock(path)
        if lock is not None:
            path.unlink(missing_ok=True)
            os.close(lock)


@dataclass(slots=True)
class _Series:
    """One counter: its key in the file, and its count until now."""

    key: str
    number: float


class _CountFile:
    """One locked file of counters."""

    def __init__(self, path: Path, lock: int) -> None:
        # The library's class has no types.
        self._values: Any = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        self._lock = lock
        self._series: dict[tuple[str, str, int], _Series] = {}

    def increment(self, method: str, route: str, status: int) -> None:
        """Add one to a series."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self._find_series(method, route, status)
        series.number += 1
        self._values.write_value(series.key, series.number, 0.0)

    def close(self) -> None:
        """Unmap the file and release its lock."""
        self._values.close()
        os.close(self._lock)

    def _find_series(self, method: str, route: str, status: int) -> _Series:
        """Return a series that this process has not counted yet; an earlier one may have."""
        values = [method, route, str(status)]
        key = mmap_key(_NAME, f"{_NAME}_total", _LABELS, values, _HELP)
        series = _Series(key, self._values.read_value(key)[0])
        self._series[method, route, status] = series
        return series


def _take_file(folder: Path) -> _CountFile:
    """Return the first file that no living process has; make one when all are taken."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count_from():
        path = folder / f"counter_{number}.db"
        lock = _try_lock(path)
        if lock is not None:
            return _CountFile(path, lock)
    raise AssertionError("count_from() does not end")


def _try_lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock of a file; None where another process has it."""
    if not path.exists():
        _create(path)
    return open_locked(path, os.O_RDWR)


def _create(path: Path) -> None:
    """Put a file without counts in its place, whole: a collector may read it at any moment.

    Its blocks are written, since a worker that counts into a hole of a full disk would be killed.
    """
    new = path.with_name(f"{path.stem}.{os.getpid()}.new")
    new.write_bytes(bytes(_FILE_BYTES))
    with suppress(FileExistsError):
        os.link(new, path)
    new.unlink()
