"""What a client asks at /oauth/authorize: checked, sealed, carried through the log-in pages."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_gateway.gateway import Gateway

# How long a log-in page may stay open.
_PAGE_SECONDS = 900


def seal(gateway: Gateway, asked: dict[str, str]) -> str:
    """Return the checked request as text that nobody else can make or change."""
    return _sealer(gateway).dumps(asked)


def opened(gateway: Gateway, sealed: str) -> dict[str, str] | None:
    """Return the request that was sealed; None when it is too old or not ours."""
    try:
        asked: dict[str, str] = _sealer(gateway).loads(sealed, max_age=_PAGE_SECONDS)
    except BadSignature:
        return None
    return asked


def back(address: str, values: dict[str, str]) -> Response:
    """Send the browser back to the client with an answer (RFC 6749 §4.1.2)."""
    query = urlencode({name: value for name, value in values.items() if value})
    joined = f"{address}{'&' if '?' in address else '?'}{query}"
    return RedirectResponse(joined, 303, headers={"Cache-Control": "no-store"})


def _sealer(gateway: Gateway) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt="log-in page")
