"""Client metadata of a dynamic registration (RFC 7591 §2): validate it, build a client of it."""

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

__all__ = ["ClientMetadata", "build_client", "parse_metadata"]

_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
_GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials")
_MAX_ITEMS, _MAX_URI_LENGTH = 10, 2000
_LOOPBACK_HOSTS = ("127.0.0.1", "[::1]", "localhost")
_PRIVATE_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MIN_RSA_BITS = 2048


@dataclass(frozen=True)
class ClientMetadata:
    """Validated metadata."""

    name: str
    redirect_uris: tuple[str, ...]
    method: str
    grants: tuple[str, ...]
    scope: str
    jwks: str | None
    launch_uri: str | None = None

    @property
    def by_secret(self) -> bool:
        """Whether the client authenticates by a secret."""
        return self.method.startswith("client_secret")

    @property
    def echo(self) -> dict[str, Any]:
        """The metadata as the registration response returns it (RFC 7591 §3.2.1)."""
        members: dict[str, Any] = {
            "client_name": self.name,
            "token_endpoint_auth_method": self.method,
            "grant_types": list(self.grants),
            "response_types": ["code"] if "authorization_code" in self.grants else [],
        }
        if self.redirect_uris:
            members["redirect_uris"] = list(self.redirect_uris)
        if self.jwks:
            members["jwks"] = json.loads(self.jwks)
        if self.launch_uri:
            members["initiate_login_uri"] = self.launch_uri
        return members


def parse_metadata(body: Mapping[str, Any]) -> ClientMetadata:
    """Validate metadata; raise OAuthError with RFC 7591's codes. Ignore unknown fields (§2)."""
    name = body.get("client_name", "")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 100 or not name.isprintable():
        raise _metadata_error(
            "client_name: people must be told who asks, in 100 characters at most."
        )
    method = body.get("token_endpoint_auth_method", "client_secret_basic")
    if method not in _AUTH_METHODS:
        raise _metadata_error(f"token_endpoint_auth_method is one of {', '.join(_AUTH_METHODS)}.")
    grants = tuple(_parse_strings(body, "grant_types", ["authorization_code"]))
    if not grants or not set(grants) <= set(_GRANT_TYPES):
        raise _metadata_error(f"grant_types are of {', '.join(_GRANT_TYPES)}.")
    if "client_credentials" in grants and method == "none":
        raise _metadata_error("client_credentials needs a program that can prove who it is.")
    response_types = ["code"] if "authorization_code" in grants else []
    if _parse_strings(body, "response_types", response_types) != response_types:
        raise _metadata_error("response_types is code with authorization_code, else empty.")
    redirects = tuple(_parse_strings(body, "redirect_uris", []))
    if bool(redirects) != ("authorization_code" in grants) or len(redirects) > _MAX_ITEMS:
        raise OAuthError("invalid_redirect_uri", "authorization_code needs up to ten addresses.")
    for address in redirects:
        _check_redirect_uri(address)
    scope = body.get("scope", "")
    if not isinstance(scope, str):
        raise _metadata_error("scope is text.")
    keys = _parse_jwks(body, needed=method == "private_key_jwt")
    # Where SMART's launch begins, under the name that OpenID Connect registered for it.
    launch_uri = body.get("initiate_login_uri")
    if launch_uri is not None:
        if not isinstance(launch_uri, str) or not redirects:
            raise _metadata_error("initiate_login_uri is an address, of an app for people.")
        _check_redirect_uri(launch_uri)
    return ClientMetadata(name.strip(), redirects, method, grants, scope, keys, launch_uri)


def build_client(
    metadata: ClientMetadata, identity: str, allowed_scope: str, organization: str | None
) -> Client:
    """Return the client to register, with the requested scopes within the allowed ones.

    Without requested scopes it gets a minimum. Raises OAuthError if none of the requested scopes is
    allowed.
    """
    words = allowed_scope.split()
    requested = metadata.scope.split() or ["openid", "fhirUser", "launch/patient"]
    requested = [word for word in requested if word not in LOGIN_SCOPES or word in words]
    try:
        scope = narrow_scopes(" ".join(requested), words)
    except Invalid as error:
        raise _metadata_error(f"scope: {error}") from error
    if metadata.scope and not scope:
        raise _metadata_error("scope: nothing of it may be registered.")
    return Client(
        identity, metadata.name, metadata.redirect_uris, scope, organization,
        confidential=metadata.by_secret, auth_method=metadata.method, jwks=metadata.jwks,
        launch_uri=metadata.launch_uri,
    )  # fmt: skip


def _check_redirect_uri(address: str) -> None:
    try:
        parts = urlsplit(address)
        # `port` raises ValueError for one that is not a number.
        is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise OAuthError("invalid_redirect_uri", "An address cannot be read.") from error
    host = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    is_loopback = parts.scheme == "http" and host in _LOOPBACK_HOSTS
    is_plain = address.isascii() and address.isprintable() and not set(address) & set(" \\*\"'<>;,")
    if (
        not is_valid
        or not is_plain
        or len(address) > _MAX_URI_LENGTH
        or "@" in parts.netloc
        or not parts.hostname
        or "#" in address
        or not (parts.scheme == "https" or is_loopback)
    ):
        raise OAuthError(
            "invalid_redirect_uri",
            "An address is https, or http on this machine; without user, fragment or wildcard.",
        )


def _parse_jwks(body: Mapping[str, Any], *, needed: bool) -> str | None:
    if "jwks_uri" in body:
        raise _metadata_error("jwks_uri is not offered: send the keys as jwks.")
    jwks = body.get("jwks")
    if jwks is None:
        if needed:
            raise _metadata_error("private_key_jwt needs public keys: send jwks.")
        return None
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MAX_ITEMS:
        raise _metadata_error("jwks has one to ten keys.")
    for key in keys:
        _check_key(key)
    if len({key["kid"] for key in keys}) != len(keys):
        raise _metadata_error("jwks: every key has a kid of its own.")
    return json.dumps({"keys": keys})


def _check_key(key: Any) -> None:
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not key["kid"]:
        raise _metadata_error("jwks: every key has a kid.")
    if set(key) & _PRIVATE_JWK_MEMBERS:
        raise _metadata_error("jwks: this is a private key. It is known now: make another.")
    try:
        if key.get("kty") == "RSA":
            is_valid = RSAKey.import_key(key).raw_value.key_size >= _MIN_RSA_BITS
        else:
            is_valid = key.get("kty") == "EC" and ECKey.import_key(key).curve_name == "P-384"
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _metadata_error("jwks: a key cannot be read.") from error
    if not is_valid:
        raise _metadata_error("jwks: keys are RSA of 2048 bits or more, or EC P-384.")


def _parse_strings(body: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    value = body.get(name, default)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _metadata_error(f"{name} is a list of texts.")
    return value


def _metadata_error(text: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", text)
