"""The electronic identity, in the shape of iAM Smart: redirect, code, token, an id for us alone.

The provider proves who somebody is and tells us an id that no other service gets, never the HKID.
It refers to OAuth 2.0 but is not OpenID Connect: there is no ID token. Its second layer of
encryption (a content key wrapped for each service) is the transport's, and not made here.
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

# Where the simulator is mounted.
SIMULATOR_PATH = "/oauth/eid-simulator"
_SCOPE = "eidapi_auth"
_TIMEOUT_SECONDS = 10


class EidRefused(Exception):
    """The provider does not vouch for the person: the code is wrong, used, old or another's."""


@dataclass(frozen=True)
class EidRequest:
    """One log-in at the provider."""

    state: str
    redirect_uri: str
    # Of the proof that who brings the code is who asked for it (RFC 7636).
    verifier: str
    language: str = "en"
    # Ask for proof even of somebody whom the provider knows already: before a sensitive act.
    force_login: bool = False


class EidProvider(Protocol):
    """Whoever vouches for people."""

    @property
    def issuer(self) -> str:
        """Its name, as it sends it back (RFC 9207); empty when it sends none."""

    def authorize_address(self, request: EidRequest) -> str:
        """Return the address at which the person proves who they are."""

    async def account_id(self, code: str, request: EidRequest) -> str:
        """Return the id for a code, once.

        Raises EidRefused when there is none, Unavailable when the provider does not answer.
        """


class OAuthEid:
    """A provider reached by two addresses."""

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

    def authorize_address(self, request: EidRequest) -> str:
        """Return the address at which the person proves who they are."""
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

    async def account_id(self, code: str, request: EidRequest) -> str:
        """Return the id for a code, once."""
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
    """Return the provider of the settings, else the simulator, asked in this process."""
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
        # What a stranger's JSON holds is not known, hence Any.
        body: Any = response.json()
        subject = body["openID"]
    except (ValueError, KeyError, TypeError) as error:
        raise EidRefused from error
    if response.status_code != 200 or not isinstance(subject, str) or not subject:
        raise EidRefused
    return subject
