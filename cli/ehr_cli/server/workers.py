"""Several worker processes at one address.

They are forked when everything is imported, so that they start at once and share that memory, and
each is replaced when it ends. What cannot be shared between processes (connections, threads) is
made in the worker.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

__all__ = ["serve_with_workers"]

# glibc's mallopt(3).
_ARENA_MAX = -8
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# One that ends as soon as it begins is not begun again and again without a pause.
_MIN_LIFETIME_S = 1.0


def serve_with_workers(
    count: int,
    address: tuple[str, int],
    serve: Callable[[socket.socket], None],
    on_begun: Callable[[], None],
) -> None:
    """Run `serve` in `count` processes until this one is told to end; then end them."""
    _share_memory()
    workers = _WorkerPool(_bind_sockets(address, count), serve)
    workers.begin()
    on_begun()
    workers.keep()


def _share_memory() -> None:
    # What is made by now is shared, as long as no collector writes to it.
    gc.collect()
    gc.freeze()
    # Many threads with a heap each hold on to memory that nobody uses.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def _bind_sockets(address: tuple[str, int], count: int) -> list[socket.socket]:
    """Return a socket for each worker, all at one address, or one for all of them.

    With one for all, whichever worker wakes first takes every connection that waits. None listens
    yet: a worker does that when it can answer, so that nobody waits for one that is on its way.
    """
    spread = sys.platform == "linux"
    made = []
    for _ in range(count if spread else 1):
        one = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if spread:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        made.append(one)
    return made if spread else made * count


class _WorkerPool:
    def __init__(
        self, sockets: Sequence[socket.socket], serve: Callable[[socket.socket], None]
    ) -> None:
        self._sockets = sockets
        self._serve = serve
        # By process: the worker's number, and when it began.
        self._begun: dict[int, tuple[int, float]] = {}
        self._ending = False
        # Closed by the system when this process ends, however it ends: the workers see it.
        self._alive, self._held = os.pipe()

    def begin(self) -> None:
        """Begin the workers."""
        for one in _SIGNALS:
            signal.signal(one, self._end)
        for number in range(len(self._sockets)):
            self._begin(number)

    def keep(self) -> None:
        """Begin a worker for each that ends, until told to end; return when all have ended."""
        while self._begun:
            pid, _ = os.wait()
            number, begun = self._begun.pop(pid)
            if not self._ending:
                time.sleep(max(0.0, _MIN_LIFETIME_S - (time.monotonic() - begun)))
                self._begin(number)

    def _begin(self, number: int) -> None:
        # A signal between the fork and the note of it would leave a worker behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._ending:
                return
            pid = os.fork()
            if pid == 0:
                self._work(self._sockets[number])
            self._begun[pid] = number, time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _work(self, listening: socket.socket) -> None:
        """Serve in the worker; never return to what the parent was doing."""
        status = 1
        try:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.close(self._held)
            threading.Thread(target=self._outlive, daemon=True).start()
            self._serve(listening)
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

    def _outlive(self) -> None:
        """End with the parent."""
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        for pid in tuple(self._begun):
            # One may have ended by itself a moment ago.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
