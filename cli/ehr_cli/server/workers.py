"""Worker processes at one address: prefork, SO_REUSEPORT, a worker that ends or hangs is replaced.

They are forked when everything is imported, so that they start at once and share that memory: of
four workers each has 160 to 187 MiB, a single process 248 (docs/explanation/performance.md, "More
workers"). What cannot be shared between processes (connections, threads) is made in the worker.
"""

from __future__ import annotations

import ctypes
import gc
import math
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

__all__ = ["serve_with_workers"]

# The parameter M_ARENA_MAX of glibc's mallopt(3), and its value: two heaps for all threads.
_M_ARENA_MAX = -8
_MAX_ARENAS = 2
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What a worker runs: the socket it serves, and its sign of life.
Serve = Callable[[socket.socket, Callable[[], None]], None]
# How often the parent looks after its workers.
_LOOK_SECONDS = 0.2
# A worker without a sign of life for so long is killed and replaced: it may hold the writer's turn,
# and takes new connections that nobody answers. Chosen: longer than the event loop ever stands.
_SILENT_SECONDS = 5.0
# The same until its first sign of life, while it opens the store. Chosen.
_STARTING_SECONDS = 120.0
# How long after SIGTERM workers that have not ended are killed; they end themselves before that
# (`http_server`) unless they are frozen.
_END_SECONDS = 8.0
_BEAT = struct.Struct("d")
# A worker that ends as soon as it starts is restarted once in this time at most. Chosen.
_MIN_LIFETIME_SECONDS = 1.0


def serve_with_workers(
    count: int,
    address: tuple[str, int],
    serve: Serve,
    on_started: Callable[[], None],
) -> None:
    """Run `serve` in `count` processes until SIGINT or SIGTERM; then end them and return.

    It is handed a socket, and what to call several times a second as a sign of life.
    """
    _share_memory()
    pool = _WorkerPool(_bind_sockets(address, count), serve)
    pool.start()
    on_started()
    pool.supervise()


def _share_memory() -> None:
    # Pages stay shared after the fork as long as no garbage collector writes to their objects.
    gc.collect()
    gc.freeze()
    # With a heap for each thread, as by default, freed memory stays with heaps nobody uses.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MAX_ARENAS)


def _bind_sockets(address: tuple[str, int], count: int) -> list[socket.socket]:
    """Return a bound socket for each worker, or the same one for all where there is no choice.

    Linux spreads connections over sockets with SO_REUSEPORT; with one socket for all, whichever
    worker wakes first takes every connection that waits. None listens yet: a worker does that when
    it can answer, so that no connection waits for a worker that is starting.
    """
    has_reuse_port = sys.platform == "linux"
    sockets = []
    for _ in range(count if has_reuse_port else 1):
        bound = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if has_reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        sockets.append(bound)
    return sockets if has_reuse_port else sockets * count


@dataclass
class _Worker:
    """A running worker: its number, which names its socket, and when it was forked."""

    number: int
    started: float
    # When its last sign of life was seen, and what that was.
    seen: float = 0.0
    beat: float = 0.0


class _WorkerPool:
    def __init__(self, sockets: Sequence[socket.socket], serve: Serve) -> None:
        self._sockets = sockets
        self._serve = serve
        self._worker_by_pid: dict[int, _Worker] = {}
        self._ends_at = math.inf
        # A number for each worker, which it changes as a sign of life.
        self._beats = mmap.mmap(-1, _BEAT.size * len(sockets))
        # The system closes the write end when this process ends, however it ends: a worker that
        # reads sees it.
        self._parent_alive, self._parent_end = os.pipe()

    def start(self) -> None:
        """Fork every worker."""
        for signal_number in _END_SIGNALS:
            signal.signal(signal_number, self._end)
        for number in range(len(self._sockets)):
            self._fork(number)

    def supervise(self) -> None:
        """Restart each worker that ends, until told to end; return when all have ended."""
        looked = time.monotonic()
        while self._worker_by_pid:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._replace(self._worker_by_pid.pop(pid))
                continue
            time.sleep(_LOOK_SECONDS)
            looked, before = time.monotonic(), looked
            # Where this process stood still itself, so may have the workers, through no fault.
            self._kill_silent(looked, forgive=looked - before > _SILENT_SECONDS / 2)

    def _replace(self, worker: _Worker) -> None:
        if not self._is_ending:
            lifetime = time.monotonic() - worker.started
            time.sleep(max(0.0, _MIN_LIFETIME_SECONDS - lifetime))
            self._fork(worker.number)

    def _kill_silent(self, now: float, *, forgive: bool) -> None:
        """Kill the workers that give no sign of life, and at the end those that have not ended."""
        for pid, worker in list(self._worker_by_pid.items()):
            (beat,) = _BEAT.unpack_from(self._beats, worker.number * _BEAT.size)
            if beat != worker.beat or forgive:
                worker.beat, worker.seen = beat, now
            limit = _SILENT_SECONDS if worker.beat else _STARTING_SECONDS
            is_silent = now - worker.seen > limit and not self._is_ending
            if is_silent or now > self._ends_at:
                if is_silent:
                    sys.stderr.write(f"A worker gave no sign of life for {limit:.0f} s: killed.\n")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def _is_ending(self) -> bool:
        return self._ends_at < math.inf

    def _fork(self, number: int) -> None:
        # A signal between the fork and the note of its pid would leave a worker behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
        try:
            if self._is_ending:
                return
            _BEAT.pack_into(self._beats, number * _BEAT.size, 0.0)
            pid = os.fork()
            if pid == 0:
                self._run_worker(number)
            now = time.monotonic()
            self._worker_by_pid[pid] = _Worker(number, now, seen=now)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)

    def _run_worker(self, number: int) -> None:
        """Serve in the worker; never return to what the parent was doing."""
        status = 1
        try:
            for signal_number in _END_SIGNALS:
                signal.signal(signal_number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _END_SIGNALS)
            # The worker's own copy of the write end would keep the pipe open.
            os.close(self._parent_end)
            threading.Thread(target=self._end_with_parent, daemon=True).start()
            place = number * _BEAT.size
            beats = self._beats
            self._serve(
                self._sockets[number], lambda: _BEAT.pack_into(beats, place, time.monotonic())
            )
            status = 0
        except KeyboardInterrupt:
            status = 0
        except BaseException as error:
            # Its text may hold a value of a record; where it happened is enough.
            traceback.print_tb(error.__traceback__)
            sys.stderr.write(f"A worker ended: {type(error).__name__}\n")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end_with_parent(self) -> None:
        # Blocks until the parent has ended.
        os.read(self._parent_alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, signal_number: int, frame: FrameType | None) -> None:
        self._ends_at = min(self._ends_at, time.monotonic() + _END_SECONDS)
        for pid in tuple(self._worker_by_pid):
            # It may have ended by itself a moment ago.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
