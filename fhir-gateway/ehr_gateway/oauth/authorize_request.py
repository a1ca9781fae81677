"""What a client asks at /oauth/authorize: checked, sealed, carried through the log-in pages."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_gateway.gateway import Gateway

# How long a log-in page may stay open.
_PAGE_SECONDS = 900
_REQUEST = "log-in page"


def seal(gateway: Gateway, asked: dict[str, str], purpose: str = _REQUEST) -> str:
    """Return the checked request as text that nobody else can make or change.

    What is sealed for one kind of page is not opened by another.
    """
    return _sealer(gateway, purpose).dumps(asked)


def opened(gateway: Gateway, sealed: str, purpose: str = _REQUEST) -> dict[str, str] | None:
    """Return the request that was sealed; None when it is too old or not ours."""
    try:
        asked: dict[str, str] = _sealer(gateway, purpose).loads(sealed, max_age=_PAGE_SECONDS)
    except BadSignature:
        return None
    return asked


def refuse(gateway: Gateway, asked: dict[str, str], error: str, description: str = "") -> Response:
    """Send the browser back with an error of RFC 6749 §4.1.2.1 or OpenID Connect."""
    values = {"error": error, "error_description": description}
    return back(gateway, asked, values)


def back(gateway: Gateway, asked: dict[str, str], values: dict[str, str]) -> Response:
    """Send the browser back to the client with an answer (RFC 6749 §4.1.2).

    The issuer tells a client of several servers which one answers (RFC 9207).
    """
    address = asked["redirect"]
    named = {**values, "state": asked.get("state", ""), "iss": gateway.settings.oauth_issuer}
    query = urlencode({name: value for name, value in named.items() if value})
    joined = f"{address}{'&' if '?' in address else '?'}{query}"
    return RedirectResponse(joined, 303, headers={"Cache-Control": "no-store"})


def _sealer(gateway: Gateway, purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt=purpose)
