"""Log-in at the gateway: OAuth 2 authorization code with PKCE (RFC 7636), as a public client."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from ehr_design.display_settings import DisplaySettings
from ehr_fhir.errors import Unauthorized, Unavailable
from ehr_portal.record.display import LATIN_TAG, split_scripts
from ehr_portal.settings import PortalSettings
from ehr_portal.web.sessions import User

# All that any role of the portal may need; the gateway grants what the person's role covers.
SCOPE = " ".join(
    (
        "openid fhirUser ehr/access",
        "patient/*.rs patient/Consent.cruds patient/Observation.cu",
        "user/*.rs user/Consent.cruds user/Observation.cu",
        # What a clinician writes here besides, and marks as wrong.
        "user/AllergyIntolerance.cu user/CareTeam.cu user/DocumentReference.cu",
        "user/MedicationRequest.cu",
    )
)


@dataclass(frozen=True)
class PendingLogin:
    """What the portal keeps between sending a person to log in and their return."""

    state: str
    verifier: str

    @classmethod
    def new(cls) -> PendingLogin:
        """Return one with new random values."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(48))


def authorization_url(
    settings: PortalSettings, login: PendingLogin, language: str, display: DisplaySettings
) -> str:
    """Return the address of the gateway's log-in for one log-in of the portal."""
    digest = hashlib.sha256(login.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": f"{settings.base_url}/callback",
        "scope": SCOPE,
        "state": login.state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "ui_locales": language,
        # For a gateway at an origin of its own, which our cookies do not reach.
        **display.to_parameters(),
    }
    return f"/oauth/authorize?{urlencode(query)}"


async def exchange_code(
    client: httpx.AsyncClient, settings: PortalSettings, login: PendingLogin, code: str
) -> User:
    """Exchange a code for a token and return whose it is."""
    form = {
        "grant_type": "authorization_code",
        "client_id": settings.client_id,
        "redirect_uri": f"{settings.base_url}/callback",
        "code": code,
        "code_verifier": login.verifier,
    }
    try:
        response = await client.post("/oauth/token", data=form)
    except httpx.TransportError as error:
        raise Unavailable("The gateway does not answer.") from error
    if response.status_code != 200:
        raise Unauthorized("The gateway did not accept the log-in.")
    return parse_user(response.json())


def parse_user(answer: Mapping[str, Any]) -> User:
    """Return the person a token answer names."""
    try:
        ehr = answer["ehr"]
        name = split_scripts(ehr.get("display") or "").parts
        return User(
            latin="".join(part.text for part in name if part.lang == LATIN_TAG).strip(),
            han="".join(part.text for part in name if part.lang != LATIN_TAG),
            role=ehr["role"],
            organization=ehr.get("organization"),
            patient=answer.get("patient") or ehr.get("patient"),
            token=answer["access_token"],
            login=ehr.get("person", ""),
        )
    except KeyError as error:
        raise Unauthorized("The gateway's answer does not say who logged in.") from error
