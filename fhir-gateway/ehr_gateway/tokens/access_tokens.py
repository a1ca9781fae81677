"""Access tokens: JWTs signed with ES256 (RFC 9068), with the requester's role and context.

Consent is not in the token. It is read from the database at every request, so that a change of it
holds for tokens issued before.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError

from ehr_fhir.errors import Invalid, Unauthorized
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.tokens.keys import SigningKeys
from ehr_gateway.tokens.revocations import RevocationList
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import Requester, parse_scopes

_ALGORITHMS = ["ES256"]
_CACHE_SIZE = 2048
# Issuer and audience of tokens that were issued before these were the server's own addresses. An
# upgrade ends no log-in: such a token is good until it expires, within a day at most.
_FORMER_NAMES = (f"{JURISDICTION.base}/oauth", JURISDICTION.fhir_base)


@dataclass(frozen=True)
class Subject:
    """The subject of a token: a person's account, or a program."""

    login: str
    display: str
    role: str
    client: str
    organization: str | None = None
    profession: str | None = None
    patient: str | None = None
    person: str | None = None
    # Whether the client is an app of others, for which no declared emergency opens anything.
    is_app: bool = False


@dataclass(frozen=True)
class Caller:
    """The caller of a request: the token's subject, and the requester for consent decisions."""

    subject: Subject
    requester: Requester


@dataclass(frozen=True)
class VerifiedToken:
    """An access token whose signature, issuer and audience are verified."""

    claims: dict[str, Any]
    caller: Caller

    @property
    def expires_ms(self) -> int:
        """When it expires, in milliseconds since 1970."""
        return int(self.claims["exp"]) * 1000


def issue_access_token(
    keys: SigningKeys,
    settings: GatewaySettings,
    subject: Subject,
    scope: str,
    now_ms: int,
    family: str = "",
) -> tuple[str, dict[str, Any]]:
    """Return a signed access token and its claims.

    `family` is the token family it belongs to: when that ends, the token is revoked.
    """
    keys.reload_if_changed()
    # Refuse an unknown scope now, not at the first use of the token.
    parse_scopes(scope)
    now = now_ms // 1000
    identity = {
        "role": subject.role,
        "organization": subject.organization,
        "profession": subject.profession,
        "purpose": load_roles()[subject.role].purpose,
        "patient": subject.patient,
        "person": subject.person or subject.login,
        "display": subject.display,
        "app": subject.is_app or None,
    }
    claims: dict[str, Any] = {
        "iss": settings.issuer,
        "aud": settings.fhir_base,
        "sub": subject.login,
        "client_id": subject.client,
        "scope": scope,
        "iat": now,
        "exp": now + settings.token_seconds,
        "jti": uuid.uuid4().hex,
        "ehr": {name: value for name, value in identity.items() if value is not None},
    }
    if subject.patient:
        claims["patient"] = subject.patient
    if family:
        claims["family"] = family
    header = {"alg": "ES256", "typ": "at+jwt", "kid": keys.access_token_key.kid}
    return jwt.encode(header, claims, keys.access_token_key, algorithms=_ALGORITHMS), claims


class TokenVerifier:
    """Verifies access tokens; caches those whose signature has been checked."""

    def __init__(
        self,
        keys: SigningKeys,
        settings: GatewaySettings,
        revocations: RevocationList | None = None,
    ) -> None:
        self._keys = keys
        self._settings = settings
        self._revocations = revocations
        self._generation = keys.generation
        # An ES256 signature takes about 0.2 ms to check and its result never changes. Expiry and
        # revocation are checked at every request. Least recently added tokens are dropped first.
        self._cache: OrderedDict[str, VerifiedToken] = OrderedDict()

    def is_stale(self) -> bool:
        """Say whether `reload` is due. It may wait for the database, so not on the event loop."""
        return self._revocations is not None and self._revocations.is_stale()

    def reload(self) -> None:
        """Read new revocations, and the keys if they changed."""
        if self._revocations is not None:
            self._revocations.reload()
        self._keys.reload_if_changed()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            # A removed key must not verify tokens that are in the cache.
            self._cache.clear()

    def authenticate(self, token: str, now_ms: int) -> Caller:
        """Return the caller of a token; Unauthorized if it is invalid, expired or revoked."""
        return self.verify(token, now_ms).caller

    def verify(self, token: str, now_ms: int) -> VerifiedToken:
        """Return a token with its claims; Unauthorized if it is invalid, expired or revoked."""
        if self.is_stale():
            self.reload()
        verified = self._cache.get(token)
        if verified is None:
            verified = self._decode(token)
            self._cache[token] = verified
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        if verified.expires_ms <= now_ms:
            raise Unauthorized("The access token has expired. Log in again.")
        if self._revocations is not None and self._is_revoked(verified.claims):
            raise Unauthorized("The access token no longer holds. Log in again.")
        return verified

    def is_suspended(self, caller: Caller, now_ms: int) -> bool:
        """Say whether the person, organisation or client of a token is suspended now."""
        if self._revocations is None:
            return False
        return self._revocations.suspensions.is_suspended(
            person=caller.requester.person,
            organization=caller.requester.organization,
            client=caller.subject.client,
            now_ms=now_ms,
        )

    def _is_revoked(self, claims: dict[str, Any]) -> bool:
        assert self._revocations is not None  # noqa: S101 - asked before
        return self._revocations.is_revoked(
            login=claims["sub"],
            client=claims["client_id"],
            token=claims["jti"],
            family=claims.get("family", ""),
            issued_ms=claims["iat"] * 1000,
        )

    def _decode(self, token: str) -> VerifiedToken:
        try:
            try:
                decoded = jwt.decode(token, self._keys.verification_keys, algorithms=_ALGORITHMS)
            except (InvalidKeyIdError, ValueError):
                # Perhaps signed by a key that another process has just generated.
                self._keys.reload_if_changed()
                decoded = jwt.decode(token, self._keys.verification_keys, algorithms=_ALGORITHMS)
            claims = decoded.claims
            if decoded.header.get("typ") != "at+jwt" or not decoded.header.get("kid"):
                raise Unauthorized("This is not an access token.")
            names = claims["iss"], claims["aud"]
            if names not in (_FORMER_NAMES, (self._settings.issuer, self._settings.fhir_base)):
                raise Unauthorized("The access token is for another service.")
            if not isinstance(claims["iat"], int) or not isinstance(claims["jti"], str):
                raise Unauthorized("This is not an access token.")
            int(claims["exp"])
            return VerifiedToken(claims, _caller_from_claims(claims))
        except (JoseError, Invalid, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unauthorized("The access token does not verify.") from error


def _caller_from_claims(claims: dict[str, Any]) -> Caller:
    identity = claims["ehr"]
    subject = Subject(
        login=claims["sub"],
        display=identity.get("display", claims["sub"]),
        role=identity["role"],
        client=claims["client_id"],
        organization=identity.get("organization"),
        profession=identity.get("profession"),
        patient=identity.get("patient"),
        person=identity.get("person"),
        is_app=bool(identity.get("app", False)),
    )
    return Caller(
        subject,
        replace(requester_of(subject, claims["scope"]), purpose=identity["purpose"]),
    )


def requester_of(subject: Subject, scope: str) -> Requester:
    """Return the requester of a subject with some scopes, for the purpose of its role."""
    return Requester(
        role=subject.role,
        person=subject.person or subject.login,
        organization=subject.organization,
        profession=subject.profession,
        purpose=load_roles()[subject.role].purpose,
        patient=subject.patient,
        scopes=parse_scopes(scope),
        emergency_suspended=subject.is_app,
    )
