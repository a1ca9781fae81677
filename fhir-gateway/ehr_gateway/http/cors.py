"""Cross-origin resource sharing: pages of other origins use the API with a token they hold (Fetch).

SMART App Launch 2.2 asks for it. Any origin may: what is served here is opened by a bearer token
that the page must send itself, never by a cookie of ours. The log-in pages, which have cookies, are
left out, so that no page of another origin reads them.

Starlette's CORSMiddleware is not used: it has no list of paths, and these share one application
with the log-in pages; and it answers a preflight with 200 and a text, not with 204.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Cors"]

_OAUTH_PATHS = frozenset(
    f"/oauth/{name}"
    for name in (
        "token", "jwks", "revoke", "introspect", "register", "smart-style.json",
        ".well-known/openid-configuration",
    )
)  # fmt: skip
_ALLOW_ORIGIN = (b"access-control-allow-origin", b"*")
_EXPOSE_HEADERS = (
    b"access-control-expose-headers",
    b"ETag, Location, Content-Location, Last-Modified, X-Request-Id, Retry-After, WWW-Authenticate",
)
_PREFLIGHT = [
    _ALLOW_ORIGIN,
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist,"
        b" If-Modified-Since, X-Provenance, X-Request-Id, X-Security-Context",
    ),
    # Seconds for which a browser need not ask again. Chosen.
    (b"access-control-max-age", b"3600"),
]


class Cors:
    """ASGI middleware that answers preflights and marks what pages of other origins may read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _has_origin(scope) or not _is_shared(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _ALLOW_ORIGIN, _EXPOSE_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _has_origin(scope: Scope) -> bool:
    # No generator: this is asked of every request.
    return b"origin" in [name for name, _ in scope["headers"]]


def _is_shared(path: str) -> bool:
    return (
        path in ("/fhir", "/cds-services")
        or path.startswith(("/fhir/", "/cds-services/", "/oauth/register/", "/shl/"))
        or path in _OAUTH_PATHS
    )
