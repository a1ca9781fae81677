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
from ehr_gateway.oauth.authorization_codes import challenge_of
from ehr_gateway.settings import GatewaySettings

# Where the simulator is mounted.
SIMULATOR = "/oauth/eid-simulator"
_SCOPE = "eidapi_auth"
_SECONDS = 10


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
    fresh: bool = False


class EidProvider(Protocol):
    """Whoever vouches for people."""

    @property
    def issuer(self) -> str:
        """Its name, as it sends it back (RFC 9207); empty when it sends none."""

    def authorize_address(self, asked: EidRequest) -> str:
        """Return the address at which the person proves who they are."""

    async def account_id(self, code: str, asked: EidRequest) -> str:
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

    def authorize_address(self, asked: EidRequest) -> str:
        """Return the address at which the person proves who they are."""
        query = {
            "response_type": "code",
            "client_id": self._client[0],
            "redirect_uri": asked.redirect_uri,
            "scope": _SCOPE,
            "state": asked.state,
            "code_challenge": challenge_of(asked.verifier),
            "code_challenge_method": "S256",
            "lang": asked.language,
            **({"prompt": "login"} if asked.fresh else {}),
        }
        return f"{self._authorize_url}?{urlencode(query)}"

    async def account_id(self, code: str, asked: EidRequest) -> str:
        """Return the id for a code, once."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._client[0],
            "client_secret": self._client[1],
            "redirect_uri": asked.redirect_uri,
            "code_verifier": asked.verifier,
        }
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=_SECONDS) as client:
                answer = await client.post(self._token_url, data=form)
        except httpx.HTTPError as error:
            raise Unavailable("The electronic identity does not answer.") from error
        if answer.status_code >= 500:
            raise Unavailable("The electronic identity does not answer.")
        return _named(answer)


def provider(settings: GatewaySettings, simulator: ASGIApp, secret: str) -> EidProvider:
    """Return the provider of the settings, else the simulator, asked in this process."""
    if settings.eid_authorize_url:
        return OAuthEid(
            settings.eid_authorize_url,
            settings.eid_token_url,
            settings.eid_client_id,
            settings.eid_client_secret,
        )
    return OAuthEid(
        f"{settings.base_url}{SIMULATOR}/authorize",
        f"{settings.base_url}/token",
        CLIENT_ID,
        secret,
        issuer=settings.base_url,
        transport=httpx.ASGITransport(simulator),
    )


def _named(answer: httpx.Response) -> str:
    try:
        # What a stranger's JSON holds is not known, hence Any.
        body: Any = answer.json()
        known_as = body["openID"]
    except (ValueError, KeyError, TypeError) as error:
        raise EidRefused from error
    if answer.status_code != 200 or not isinstance(known_as, str) or not known_as:
        raise EidRefused
    return known_as
