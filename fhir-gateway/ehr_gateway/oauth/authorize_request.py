"""A validated authorize request, sealed into the log-in pages, and redirects back to the client."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_gateway.gateway import Gateway

# How long a log-in page may stay open.
_PAGE_LIFETIME_SECONDS = 900
_LOGIN_PAGE = "log-in page"


def seal_request(gateway: Gateway, parameters: dict[str, str], purpose: str = _LOGIN_PAGE) -> str:
    """Return the request as signed text, valid for one purpose only."""
    return _sealer(gateway, purpose).dumps(parameters)


def unseal_request(
    gateway: Gateway, sealed: str, purpose: str = _LOGIN_PAGE
) -> dict[str, str] | None:
    """Return a sealed request; None if it expired or the signature is wrong."""
    try:
        parameters: dict[str, str] = _sealer(gateway, purpose).loads(
            sealed, max_age=_PAGE_LIFETIME_SECONDS
        )
    except BadSignature:
        return None
    return parameters


def redirect_with_error(
    gateway: Gateway, parameters: dict[str, str], error: str, description: str = ""
) -> Response:
    """Redirect to the client with an error (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6)."""
    answer = {"error": error, "error_description": description}
    return redirect_to_client(gateway, parameters, answer)


def redirect_to_client(
    gateway: Gateway, parameters: dict[str, str], answer: dict[str, str]
) -> Response:
    """Redirect to the client's redirect URI with the parameters of a response (RFC 6749 §4.1.2).

    `iss` tells a client of several servers which one answers (mix-up attack, RFC 9207).
    """
    address = parameters["redirect"]
    answer = {**answer, "state": parameters.get("state", ""), "iss": gateway.settings.issuer}
    query = urlencode({name: value for name, value in answer.items() if value})
    url = f"{address}{'&' if '?' in address else '?'}{query}"
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store"})


def _sealer(gateway: Gateway, purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt=purpose)
