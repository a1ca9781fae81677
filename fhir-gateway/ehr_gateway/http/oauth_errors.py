"""Errors in the form that OAuth's own endpoints give them (RFC 6749 §5.2, RFC 7591 §3.2.2)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import EhrError, http_status
from ehr_gateway.http.negotiation import json_response

__all__ = [
    "BEARER_CHALLENGE",
    "OAUTH_PATHS",
    "OAuthError",
    "insufficient_scope_challenge",
    "invalid_client",
    "oauth_error_response",
]

# Where these RFCs fix the form of every error.
OAUTH_PATHS = frozenset(
    f"/oauth/{name}" for name in ("token", "revoke", "introspect", "register", "launch")
)


# What a request without a token in force is told (RFC 6750 §3).
BEARER_CHALLENGE = 'Bearer realm="eHR Commons"'


def insufficient_scope_challenge(scope: str) -> str:
    """Return the challenge to a token whose scopes do not suffice (RFC 6750 §3.1).

    >>> insufficient_scope_challenge("user/Observation.s")
    'Bearer realm="eHR Commons", error="insufficient_scope", scope="user/Observation.s"'
    """
    named = f', scope="{scope}"' if scope else ""
    return f'{BEARER_CHALLENGE}, error="insufficient_scope"{named}'


class OAuthError(EhrError):
    """A refusal with one of OAuth's codes; its text never repeats what was sent."""

    status, exit, code = 400, 25, "security"

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(description or error)
        self.error = error
        self.description = description
        # Each code has its own; the other categories have one for all.
        self.http_status = status


def invalid_client() -> OAuthError:
    """Return the one answer to an unknown client and to a wrong proof alike."""
    return OAuthError("invalid_client", status=401)


def oauth_error_response(error: EhrError) -> Response:
    """Return an error in OAuth's form (RFC 6749 §5.2)."""
    status = error.http_status if isinstance(error, OAuthError) else http_status(error)
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    if isinstance(error, OAuthError):
        body = {"error": error.error}
        if error.description:
            body["error_description"] = error.description
        if status == 401:
            scheme = "Basic" if error.error == "invalid_client" else "Bearer"
            headers["WWW-Authenticate"] = f'{scheme} realm="eHR Commons"'
        elif error.error == "insufficient_scope":
            headers["WWW-Authenticate"] = insufficient_scope_challenge("")
    else:
        body = {"error": "invalid_request", "error_description": str(error)}
        if status == 401:
            headers["WWW-Authenticate"] = BEARER_CHALLENGE
    return json_response(body, status, media_type="application/json", headers=headers)
