"""Admission of requests that run on a thread from end to end: FastAPI's routes.

These are log-in, OAuth and the feed. A FHIR route asks for a thread when it needs one, once its
body has arrived (`http.threads`). Here a request is counted as a whole; while its body arrives, or
its answer leaves, its place is another's: a slow client holds none.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_fhir.errors import Unavailable
from ehr_gateway.http.error_responses import error_response
from ehr_gateway.http.threads import release_place, take_place
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
            await take_place(scope, self._threads)
        except Unavailable as error:
            await error_response(error)(scope, receive, send)
            return

        async def receive_without_place() -> Message:
            if scope["state"].get("place") is None:
                return await receive()
            release_place(scope)
            try:
                return await receive()
            finally:
                self._threads.reenter()
                scope["state"]["place"] = self._threads

        # The guard around this releases the place when the response begins.
        await self._app(scope, receive_without_place, send)
