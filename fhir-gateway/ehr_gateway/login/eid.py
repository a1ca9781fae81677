"""Client of an electronic identity provider such as iAM Smart: authorization code flow with PKCE.

The provider authenticates a person and returns a pairwise subject, never the identity number. It
follows OAuth 2.0 but is not OpenID Connect: there is no ID token. iAM Smart's second layer of
encryption (a content key wrapped for each service) is not implemented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
from starlette.types import ASGIApp

from ehr_fhir.errors import Unavailable
from ehr_gateway.accounts.eid_people import CLIENT_ID
from ehr_gateway.oauth.authorization_codes import compute_challenge
from ehr_gateway.settings import GatewaySettings

# The path that the simulator is mounted at.
SIMULATOR_PATH = "/oauth/eid-simulator"
_SCOPE = "eidapi_auth"
_TIMEOUT_SECONDS = 10


class EidRefused(Exception):
    """The provider refused the code: it is wrong, used, expired or another client's."""


@dataclass(frozen=True)
class EidRequest:
    """One authorization request to the provider."""

    state: str
    redirect_uri: str
    # PKCE code verifier (RFC 7636).
    verifier: str
    language: str = "en"
    # Authenticate the person even if the provider has a session: before a sensitive change.
    force_login: bool = False


class EidProvider(Protocol):
    """A provider of electronic identities."""

    @property
    def issuer(self) -> str:
        """The `iss` parameter of its responses (RFC 9207); empty if it sends none."""

    def authorization_url(self, request: EidRequest) -> str:
        """Return the URL to redirect the person to."""

    async def redeem_code(self, code: str, request: EidRequest) -> str:
        """Exchange a code for the person's subject.

        Raises EidRefused if the code is refused, Unavailable if the provider does not answer.
        """


class OAuthEid:
    """A provider with an authorization and a token endpoint."""

    def __init__(
        self,
        authorize_url: str,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        issuer: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.issuer = issuer
        self._authorize_url = authorize_url
        self._token_url = token_url
        self._client = (client_id, client_secret)
        self._transport = transport

    def authorization_url(self, request: EidRequest) -> str:
        """Return the URL to redirect the person to."""
        query = {
            "response_type": "code",
            "client_id": self._client[0],
            "redirect_uri": request.redirect_uri,
            "scope": _SCOPE,
            "state": request.state,
            "code_challenge": compute_challenge(request.verifier),
            "code_challenge_method": "S256",
            "lang": request.language,
            **({"prompt": "login"} if request.force_login else {}),
        }
        return f"{self._authorize_url}?{urlencode(query)}"

    async def redeem_code(self, code: str, request: EidRequest) -> str:
        """Exchange a code for the person's subject."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._client[0],
            "client_secret": self._client[1],
            "redirect_uri": request.redirect_uri,
            "code_verifier": request.verifier,
        }
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=_TIMEOUT_SECONDS
            ) as client:
                response = await client.post(self._token_url, data=form)
        except httpx.HTTPError as error:
            raise Unavailable("The electronic identity does not answer.") from error
        if response.status_code >= 500:
            raise Unavailable("The electronic identity does not answer.")
        return _read_subject(response)


def create_provider(settings: GatewaySettings, simulator: ASGIApp, secret: str) -> EidProvider:
    """Return the provider of the settings, else the simulator that runs in this process."""
    if settings.eid_authorize_url:
        return OAuthEid(
            settings.eid_authorize_url,
            settings.eid_token_url,
            settings.eid_client_id,
            settings.eid_client_secret,
        )
    return OAuthEid(
        f"{settings.base_url}{SIMULATOR_PATH}/authorize",
        f"{settings.base_url}/token",
        CLIENT_ID,
        secret,
        issuer=settings.base_url,
        transport=httpx.ASGITransport(simulator),
    )


def _read_subject(response: httpx.Response) -> str:
    try:
        # Any: the JSON of another service can be anything.
        body: Any = response.json()
        subject = body["openID"]
    except (ValueError, KeyError, TypeError) as error:
        raise EidRefused from error
    if response.status_code != 200 or not isinstance(subject, str) or not subject:
        raise EidRefused
    return subject
