"""ID tokens (OpenID Connect Core §2) and the `fhirUser` claim of SMART."""

from __future__ import annotations

from joserfc import jwt

from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway
from ehr_gateway.oauth.authorization_codes import Grant

__all__ = ["build_fhir_user", "sign_id_token"]

_RESOURCE_TYPES = {"patient": "Patient", "carer": "RelatedPerson"}


def build_fhir_user(gateway: Gateway, account: Account) -> str:
    """Return the `fhirUser` claim: the URL of the user's resource."""
    resource_type = _RESOURCE_TYPES.get(account.role, "Practitioner")
    resource_id = account.patient if resource_type == "Patient" else account.person or account.login
    return f"{gateway.settings.fhir_base}/{resource_type}/{resource_id}"


def sign_id_token(gateway: Gateway, account: Account, grant: Grant, *, is_first: bool) -> str:
    """Return a signed ID token for the client of a grant.

    `is_first` is false at a refresh: the nonce belongs to the first ID token only.
    """
    now = gateway.clock() // 1000
    context = grant.context
    claims: dict[str, object] = {
        "iss": gateway.settings.issuer,
        "sub": account.login,
        "aud": grant.client,
        "iat": now,
        "exp": now + gateway.settings.token_seconds,
        "auth_time": context.auth_time_ms // 1000,
    }
    if context.methods:
        claims["amr"] = list(context.methods)
    if context.nonce and is_first:
        claims["nonce"] = context.nonce
    if "fhirUser" in grant.scope.split():
        claims["fhirUser"] = build_fhir_user(gateway, account)
    gateway.keys.reload_if_changed()
    key = gateway.keys.id_token_key
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key, algorithms=["RS256"])
