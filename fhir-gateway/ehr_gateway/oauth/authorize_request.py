"""What a client asks at /oauth/authorize: checked, sealed, carried through the log-in pages."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_gateway.gateway import Gateway

# How long a log-in page may stay open.
_PAGE_LIFETIME_SECONDS = 900
_LOGIN_PAGE = "log-in page"


def seal_request(gateway: Gateway, parameters: dict[str, str], purpose: str = _LOGIN_PAGE) -> str:
    """Return the checked request as text that nobody else can make or change.

    What is sealed for one kind of page is not opened by another.
    """
    return _sealer(gateway, purpose).dumps(parameters)


def unseal_request(
    gateway: Gateway, sealed: str, purpose: str = _LOGIN_PAGE
) -> dict[str, str] | None:
    """Return the request that was sealed; None when it is too old or not ours."""
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
    """Send the browser back with an error of RFC 6749 §4.1.2.1 or OpenID Connect."""
    answer = {"error": error, "error_description": description}
    return redirect_to_client(gateway, parameters, answer)


def redirect_to_client(
    gateway: Gateway, parameters: dict[str, str], answer: dict[str, str]
) -> Response:
    """Send the browser back to the client with an answer (RFC 6749 §4.1.2).

    The issuer tells a client of several servers which one answers (RFC 9207).
    """
    address = parameters["redirect"]
    answer = {**answer, "state": parameters.get("state", ""), "iss": gateway.settings.oauth_issuer}
    query = urlencode({name: value for name, value in answer.items() if value})
    url = f"{address}{'&' if '?' in address else '?'}{query}"
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store"})


def _sealer(gateway: Gateway, purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt=purpose)
