"""The deadline of one request: by when it must be answered, and whether its client has gone.

`http.admission` sets it in a context variable, which follows the request to the threads that work
for it. Whatever waits (for a connection, the writer's turn, a statement) bounds its wait by it.
Background threads and commands have no deadline; for them each wait names a bound of its own.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from ehr_fhir.errors import Unavailable

__all__ = [
    "DEFAULT_PATIENCE_SECONDS",
    "Deadline",
    "current_deadline",
    "deadline_of",
    "wait_seconds",
]

# For how long a request waits to be admitted unless it says otherwise. Some clients give up after a
# second. Half of it leaves room for what is not measured, and keeps all threads busy as long as a
# request takes them less than that. Chosen.
DEFAULT_PATIENCE_SECONDS = 0.5


class Deadline:
    """When a request must be answered, on the monotonic clock."""

    __slots__ = ("at", "is_abandoned", "patience")

    def __init__(self, at: float, patience: float = DEFAULT_PATIENCE_SECONDS) -> None:
        self.at = at
        # For how many seconds it waits to be admitted before it is refused.
        self.patience = patience
        # Set by the server when the client closes its connection: nobody reads the answer.
        self.is_abandoned = False

    @property
    def is_over(self) -> bool:
        """Whether work for the request is in vain."""
        return self.is_abandoned or time.monotonic() >= self.at

    def check(self) -> None:
        """Raise Unavailable when work for the request is in vain."""
        if self.is_over:
            raise Unavailable("The request could not be answered in time. Try again.")


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the request that this code works for; None outside of requests."""
    return _current.get()


class deadline_of:
    """Work for a request with this deadline until the block ends.

    A class, since a generator would cost each request two microseconds more.
    """

    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._token = _current.set(self._deadline)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def wait_seconds(in_request: float, otherwise: float) -> float:
    """Return how long a wait may last: `in_request`, but not beyond the request's deadline.

    `otherwise` is the bound of background threads and commands, which have no deadline.

    >>> wait_seconds(5.0, otherwise=60.0)
    60.0
    >>> with deadline_of(Deadline(time.monotonic() + 100)):
    ...     wait_seconds(5.0, otherwise=60.0)
    5.0
    """
    deadline = _current.get()
    if deadline is None:
        return otherwise
    return max(0.0, min(in_request, deadline.at - time.monotonic()))
