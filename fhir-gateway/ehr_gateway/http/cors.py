"""Pages of other origins may use the API with the token they hold (SMART App Launch 2.2, Fetch).

Any origin may: what is served here is opened by a bearer token that the page must send itself,
never by a cookie of ours. The pages of the log-in, which have cookies, are left out.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Cors"]

_OPEN = frozenset(
    f"/oauth/{name}"
    for name in (
        "token", "jwks", "revoke", "introspect", "register", "smart-style.json",
        ".well-known/openid-configuration",
    )
)  # fmt: skip
_ORIGIN = (b"access-control-allow-origin", b"*")
_EXPOSED = (
    b"access-control-expose-headers",
    b"ETag, Location, Content-Location, Last-Modified, X-Request-Id, Retry-After, WWW-Authenticate",
)
_PREFLIGHT = [
    _ORIGIN,
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist,"
        b" If-Modified-Since, X-Request-Id",
    ),
    (b"access-control-max-age", b"3600"),
]


class Cors:
    """Answers what browsers ask before a request, and marks the answers they may show."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _asked(scope) or not _open(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _ORIGIN, _EXPOSED]
            await send(message)

        await self._app(scope, receive, marked)


def _asked(scope: Scope) -> bool:
    return any(name == b"origin" for name, _ in scope["headers"])


def _open(path: str) -> bool:
    return (
        path.startswith("/fhir/")
        or path == "/fhir"
        or path in _OPEN
        or (path.startswith("/oauth/register/"))
    )
