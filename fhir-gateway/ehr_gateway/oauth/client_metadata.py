"""What a program may say of itself when it registers (RFC 7591 §2), and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ehr_fhir.errors import Invalid
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth.clients import Client
from ehr_gateway.tokens.scope_grants import LOGIN_SCOPES, narrow_scopes

__all__ = ["Wanted", "checked", "client"]

_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
_GRANTS = ("authorization_code", "refresh_token", "client_credentials")
_MOST_ADDRESSES, _LONGEST = 10, 2000
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True)
class Wanted:
    """Checked metadata."""

    name: str
    redirect_uris: tuple[str, ...]
    method: str
    grants: tuple[str, ...]
    scope: str
    jwks: str | None

    @property
    def by_secret(self) -> bool:
        """Whether the program gets a secret."""
        return self.method.startswith("client_secret")

    @property
    def echo(self) -> dict[str, Any]:
        """Return what is told back."""
        found: dict[str, Any] = {
            "client_name": self.name,
            "token_endpoint_auth_method": self.method,
            "grant_types": list(self.grants),
            "response_types": ["code"] if "authorization_code" in self.grants else [],
        }
        if self.redirect_uris:
            found["redirect_uris"] = list(self.redirect_uris)
        if self.jwks:
            found["jwks"] = json.loads(self.jwks)
        return found


def checked(body: Mapping[str, Any]) -> Wanted:
    """Check metadata; raises OAuthError with RFC 7591's codes. Fields unknown are ignored (§2)."""
    name = body.get("client_name", "")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 100 or not name.isprintable():
        raise _wrong("client_name: people must be told who asks, in 100 characters at most.")
    method = body.get("token_endpoint_auth_method", "client_secret_basic")
    if method not in _METHODS:
        raise _wrong(f"token_endpoint_auth_method is one of {', '.join(_METHODS)}.")
    grants = tuple(_strings(body, "grant_types", ["authorization_code"]))
    if not grants or not set(grants) <= set(_GRANTS):
        raise _wrong(f"grant_types are of {', '.join(_GRANTS)}.")
    if "client_credentials" in grants and method == "none":
        raise _wrong("client_credentials needs a program that can prove who it is.")
    wanted = ["code"] if "authorization_code" in grants else []
    if _strings(body, "response_types", wanted) != wanted:
        raise _wrong("response_types is code with authorization_code, else empty.")
    redirects = tuple(_strings(body, "redirect_uris", []))
    if bool(redirects) != ("authorization_code" in grants) or len(redirects) > _MOST_ADDRESSES:
        raise OAuthError("invalid_redirect_uri", "authorization_code needs up to ten addresses.")
    for address in redirects:
        _check_address(address)
    scope = body.get("scope", "")
    if not isinstance(scope, str):
        raise _wrong("scope is text.")
    keys = _keys(body, needed=method == "private_key_jwt")
    return Wanted(name.strip(), redirects, method, grants, scope, keys)


def client(wanted: Wanted, identity: str, limit: str, organization: str | None) -> Client:
    """Return the program to register: what it asks for within the limit; least when it is silent.

    Raises OAuthError when nothing it asks for may be had.
    """
    words = limit.split()
    asked = wanted.scope.split() or ["openid", "fhirUser", "launch/patient"]
    asked = [word for word in asked if word not in LOGIN_SCOPES or word in words]
    try:
        scope = narrow_scopes(" ".join(asked), words)
    except Invalid as error:
        raise _wrong(f"scope: {error}") from error
    if wanted.scope and not scope:
        raise _wrong("scope: nothing of it may be registered.")
    return Client(
        identity, wanted.name, wanted.redirect_uris, scope, organization,
        confidential=wanted.by_secret, auth_method=wanted.method, jwks=wanted.jwks,
    )  # fmt: skip


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        # Reading the port finds one that is no number.
        sound = parts.port is None or parts.port > 0
    except ValueError as error:
        raise OAuthError("invalid_redirect_uri", "An address cannot be read.") from error
    host = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    loopback = parts.scheme == "http" and host in _LOOPBACK
    plain = address.isascii() and address.isprintable() and not set(address) & set(" \\*\"'<>;,")
    if (
        not sound
        or not plain
        or len(address) > _LONGEST
        or "@" in parts.netloc
        or not parts.hostname
        or "#" in address
        or not (parts.scheme == "https" or loopback)
    ):
        raise OAuthError(
            "invalid_redirect_uri",
            "An address is https, or http on this machine; without user, fragment or wildcard.",
        )


def _keys(body: Mapping[str, Any], *, needed: bool) -> str | None:
    if "jwks_uri" in body:
        raise _wrong("jwks_uri is not offered: send the keys as jwks.")
    jwks = body.get("jwks")
    if jwks is None:
        if needed:
            raise _wrong("private_key_jwt needs public keys: send jwks.")
        return None
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MOST_ADDRESSES:
        raise _wrong("jwks has one to ten keys.")
    for key in keys:
        _check_key(key)
    if len({key["kid"] for key in keys}) != len(keys):
        raise _wrong("jwks: every key has a kid of its own.")
    return json.dumps({"keys": keys})


def _check_key(key: Any) -> None:
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not key["kid"]:
        raise _wrong("jwks: every key has a kid.")
    if set(key) & _PRIVATE:
        raise _wrong("jwks: this is a private key. It is known now: make another.")
    try:
        if key.get("kty") == "RSA":
            sound = RSAKey.import_key(key).raw_value.key_size >= _LEAST_RSA_BITS
        else:
            sound = key.get("kty") == "EC" and ECKey.import_key(key).curve_name == "P-384"
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _wrong("jwks: a key cannot be read.") from error
    if not sound:
        raise _wrong("jwks: keys are RSA of 2048 bits or more, or EC P-384.")


def _strings(body: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    value = body.get(name, default)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong(f"{name} is a list of texts.")
    return value


def _wrong(text: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", text)
