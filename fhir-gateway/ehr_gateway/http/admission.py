"""Admission of requests that run on a thread from end to end: FastAPI's routes.

These are log-in, OAuth and the feed. A FHIR route asks for a thread when it needs one, once its
body has arrived (`http.threads`). Here a request is counted as a whole; while its body arrives, or
its answer leaves, its place is another's: a slow client holds none.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_fhir.errors import Unavailable
from ehr_gateway.http.error_responses import error_response
from ehr_gateway.thread_admission import ThreadAdmission

__all__ = ["Admission"]

# What an operator asks of a server that is overloaded.
_ALWAYS_ADMITTED = frozenset({"/healthz", "/readyz", "/metrics"})


class Admission:
    """ASGI middleware around routes that run on a thread from end to end."""

    def __init__(self, app: ASGIApp, threads: ThreadAdmission) -> None:
        self._app = app
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS_ADMITTED:
            await self._app(scope, receive, send)
            return
        try:
            await self._threads.enter()
        except Unavailable as error:
            await error_response(error)(scope, receive, send)
            return
        has_place = True

        async def receive_without_place() -> Message:
            nonlocal has_place
            if not has_place:
                return await receive()
            has_place = False
            self._threads.leave()
            try:
                return await receive()
            finally:
                has_place = True
                self._threads.reenter()

        async def send_without_place(message: Message) -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                self._threads.leave()
            await send(message)

        try:
            await self._app(scope, receive_without_place, send_without_place)
        finally:
            if has_place:
                self._threads.leave()
