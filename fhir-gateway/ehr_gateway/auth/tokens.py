"""Access tokens: signed JWTs (ES256) that say who asks, in which role, for whom, how far.

A token never says what the patient allows: that is read from the database at every request, so a
revocation holds for tokens issued before it.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from ehr_fhir.errors import Invalid, Unauthorized
from ehr_gateway.auth.keys import Keys
from ehr_gateway.auth.roles import roles
from ehr_gateway.settings import GatewaySettings
from ehr_privacy.consent import Requester, parse_scopes

_ALGORITHMS = ["ES256"]
_REMEMBERED = 2048


@dataclass(frozen=True)
class Subject:
    """Whom a token speaks for: a person's account, or a program."""

    login: str
    display: str
    role: str
    client: str
    organization: str | None = None
    profession: str | None = None
    patient: str | None = None
    person: str | None = None


@dataclass(frozen=True)
class Caller:
    """A verified token: who called, and the requester that consent decides about."""

    subject: Subject
    requester: Requester


def issue(
    keys: Keys, settings: GatewaySettings, subject: Subject, scope: str, now_ms: int
) -> tuple[str, dict[str, Any]]:
    """Return a signed access token and its claims."""
    # A scope that no reader of the token knows is refused here, not at its first use.
    parse_scopes(scope)
    now = now_ms // 1000
    about = {
        "role": subject.role,
        "organization": subject.organization,
        "profession": subject.profession,
        "purpose": roles()[subject.role].purpose,
        "patient": subject.patient,
        "person": subject.person or subject.login,
        "display": subject.display,
    }
    claims: dict[str, Any] = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": subject.login,
        "client_id": subject.client,
        "scope": scope,
        "iat": now,
        "exp": now + settings.token_seconds,
        "jti": uuid.uuid4().hex,
        "ehr": {name: value for name, value in about.items() if value is not None},
    }
    if subject.patient:
        claims["patient"] = subject.patient
    header = {"alg": "ES256", "typ": "at+jwt", "kid": keys.signing.kid}
    return jwt.encode(header, claims, keys.signing, algorithms=_ALGORITHMS), claims


class Verifier:
    """Verifies tokens against the keys; remembers those whose signature it has seen hold."""

    def __init__(self, keys: Keys, settings: GatewaySettings) -> None:
        self._keys = keys
        self._settings = settings
        # A signature costs about 0.2 ms to check and never changes; expiry is checked each time.
        self._seen: OrderedDict[str, tuple[int, Caller]] = OrderedDict()

    def verify(self, token: str, now_ms: int) -> Caller:
        """Return who calls; refuse a token that is not ours, not for us, or over."""
        found = self._seen.get(token)
        if found is None:
            found = self._read(token)
            self._seen[token] = found
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        expires, caller = found
        if expires * 1000 <= now_ms:
            raise Unauthorized("The access token has expired. Log in again.")
        return caller

    def _read(self, token: str) -> tuple[int, Caller]:
        try:
            decoded = jwt.decode(token, self._keys.verifying, algorithms=_ALGORITHMS)
            claims = decoded.claims
            if decoded.header.get("typ") != "at+jwt":
                raise Unauthorized("This is not an access token.")
            if claims["iss"] != self._settings.issuer or claims["aud"] != self._settings.audience:
                raise Unauthorized("The access token is for another service.")
            return int(claims["exp"]), _caller(claims)
        except (JoseError, Invalid, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unauthorized("The access token does not verify.") from error


def _caller(claims: dict[str, Any]) -> Caller:
    about = claims["ehr"]
    subject = Subject(
        login=claims["sub"],
        display=about.get("display", claims["sub"]),
        role=about["role"],
        client=claims["client_id"],
        organization=about.get("organization"),
        profession=about.get("profession"),
        patient=about.get("patient"),
        person=about.get("person"),
    )
    requester = Requester(
        role=subject.role,
        person=about.get("person", subject.login),
        organization=subject.organization,
        profession=subject.profession,
        purpose=about["purpose"],
        patient=subject.patient,
        scopes=parse_scopes(claims["scope"]),
    )
    return Caller(subject, requester)
