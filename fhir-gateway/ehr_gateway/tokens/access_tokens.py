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
from joserfc.errors import InvalidKeyIdError, JoseError

from ehr_fhir.errors import Invalid, Unauthorized
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.tokens.keys import Keys
from ehr_gateway.tokens.revocations import RevocationList
from ehr_gateway.tokens.roles import roles
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


@dataclass(frozen=True)
class Verified:
    """An access token that is ours and in force, read."""

    claims: dict[str, Any]
    caller: Caller

    @property
    def ends_ms(self) -> int:
        """When it is over."""
        return int(self.claims["exp"]) * 1000


def issue(
    keys: Keys,
    settings: GatewaySettings,
    subject: Subject,
    scope: str,
    now_ms: int,
    family: str = "",
) -> tuple[str, dict[str, Any]]:
    """Return a signed access token and its claims.

    `family` names the permission it comes from: when that ends, the token does.
    """
    keys.refresh()
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
    if family:
        claims["family"] = family
    header = {"alg": "ES256", "typ": "at+jwt", "kid": keys.signing.kid}
    return jwt.encode(header, claims, keys.signing, algorithms=_ALGORITHMS), claims


class Verifier:
    """Verifies tokens against the keys; remembers those whose signature it has seen hold."""

    def __init__(
        self, keys: Keys, settings: GatewaySettings, standing: RevocationList | None = None
    ) -> None:
        self._keys = keys
        self._settings = settings
        self._standing = standing
        self._generation = keys.generation
        # A signature costs about 0.2 ms to check and never changes; expiry, and whether the token
        # was called back, are checked each time.
        self._seen: OrderedDict[str, Verified] = OrderedDict()

    def stale(self) -> bool:
        """Say whether `look` has something to read; it may wait for the database."""
        return self._standing is not None and self._standing.stale()

    def look(self) -> None:
        """Read what was called back, and the keys when they changed."""
        if self._standing is not None:
            self._standing.look()
        self._keys.refresh()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            # A key that is gone verifies nothing, though its tokens were seen before.
            self._seen.clear()

    def verify(self, token: str, now_ms: int) -> Caller:
        """Return who calls; refuse a token that is not ours, not for us, over, or called back."""
        return self.read(token, now_ms).caller

    def read(self, token: str, now_ms: int) -> Verified:
        """Return a token's claims besides."""
        if self.stale():
            self.look()
        found = self._seen.get(token)
        if found is None:
            found = self._read(token)
            self._seen[token] = found
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        if found.ends_ms <= now_ms:
            raise Unauthorized("The access token has expired. Log in again.")
        if self._standing is not None and self._called_back(found.claims):
            raise Unauthorized("The access token no longer holds. Log in again.")
        return found

    def _called_back(self, claims: dict[str, Any]) -> bool:
        assert self._standing is not None  # noqa: S101 - asked before
        return self._standing.refuses(
            login=claims["sub"],
            client=claims["client_id"],
            token=claims["jti"],
            family=claims.get("family", ""),
            issued_ms=claims["iat"] * 1000,
        )

    def _read(self, token: str) -> Verified:
        try:
            try:
                decoded = jwt.decode(token, self._keys.verifying, algorithms=_ALGORITHMS)
            except (InvalidKeyIdError, ValueError):
                # Signed by a key that another process has just made.
                self._keys.refresh()
                decoded = jwt.decode(token, self._keys.verifying, algorithms=_ALGORITHMS)
            claims = decoded.claims
            if decoded.header.get("typ") != "at+jwt" or not decoded.header.get("kid"):
                raise Unauthorized("This is not an access token.")
            if claims["iss"] != self._settings.issuer or claims["aud"] != self._settings.audience:
                raise Unauthorized("The access token is for another service.")
            if not isinstance(claims["iat"], int) or not isinstance(claims["jti"], str):
                raise Unauthorized("This is not an access token.")
            int(claims["exp"])
            return Verified(claims, _caller(claims))
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
