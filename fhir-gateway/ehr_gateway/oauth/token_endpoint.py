"""Token endpoint `/oauth/token`: code, refresh token and client credentials grants (RFC 6749)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import subject_of_account
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.body import read_form
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import authorization_codes, refresh_tokens
from ehr_gateway.oauth.allowed_scopes import find_allowed_scopes
from ehr_gateway.oauth.client_authentication import authenticate_client
from ehr_gateway.oauth.clients import Client
from ehr_gateway.oauth.id_token import sign_id_token
from ehr_gateway.oauth.revoke_endpoint import revoke_family
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.scope_grants import grant_scopes, narrow_scopes

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_REFRESH_SCOPES = ("offline_access", "online_access")
# The scopes a client may get by client credentials; its others need a user's approval.
_CLIENT_SCOPE_PREFIXES = ("system/", "ehr/")


@router.post("/token")
def token(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Issue an access token for one of the three grant types."""
    grant_type = form.get("grant_type", "")
    if grant_type == "authorization_code":
        return _exchange_code(request, gateway, form)
    if grant_type == "refresh_token":
        return _exchange_refresh_token(request, gateway, form)
    if grant_type == "client_credentials":
        return _exchange_client_credentials(request, gateway, form)
    raise OAuthError("unsupported_grant_type" if grant_type else "invalid_request")


def _exchange_code(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    client = _authenticate_approved(request, gateway, form, public=True)
    redeemed = authorization_codes.redeem_code(
        gateway.store,
        form.get("code", ""),
        client.id,
        form.get("redirect_uri", ""),
        form.get("code_verifier", ""),
        gateway.clock(),
    )
    if redeemed.replayed:
        # The code was used twice, so somebody copied it: revoke what the first user of it got
        # (RFC 6749 §4.1.2).
        revoke_family(gateway, redeemed.replayed)
    if redeemed.grant is None:
        raise OAuthError("invalid_grant")
    account = _find_account(gateway, redeemed.grant.login, client)
    grant = redeemed.grant
    has_refresh_token = any(word in _REFRESH_SCOPES for word in grant.scope.split())
    refresh_token = refresh_tokens.start_family(
        gateway.store, grant, gateway.clock(), has_refresh_token=has_refresh_token
    )
    if refresh_token is None:
        raise OAuthError("invalid_grant")
    return _write_grant_response(gateway, client, account, grant, refresh_token, is_first=True)


def _exchange_refresh_token(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    if not {"client_id", "client_assertion"} & set(form) and "authorization" not in request.headers:
        # RFC 6749 §6 requires no client_id here, and SMART's own client library sends none for a
        # public app. A confidential client still has to authenticate below.
        client_id = refresh_tokens.find_client_id(
            gateway.store.database, form.get("refresh_token", "")
        )
        if client_id is None:
            raise OAuthError("invalid_grant")
        form = {**form, "client_id": client_id}
    client = _authenticate_approved(request, gateway, form, public=True)
    refreshed = refresh_tokens.rotate_refresh_token(
        gateway.store,
        gateway.settings,
        token=form.get("refresh_token", ""),
        client=client.id,
        scope=form.get("scope", ""),
        now_ms=gateway.clock(),
    )
    if refreshed.ended:
        revoke_family(gateway, refreshed.ended)
    if refreshed.grant is None:
        raise OAuthError(refreshed.error)
    account = _find_account(gateway, refreshed.grant.login, client)
    # Role and registration may allow less now than at the log-in.
    allowed = find_allowed_scopes(client, account, refreshed.grant.context.patient)
    grant = replace(refreshed.grant, scope=narrow_scopes(refreshed.grant.scope, allowed))
    return _write_grant_response(gateway, client, account, grant, refreshed.token, is_first=False)


def _exchange_client_credentials(
    request: Request, gateway: Gateway, form: dict[str, str]
) -> Response:
    client = _authenticate_approved(request, gateway, form, public=False)
    allowed = [word for word in client.scope.split() if word.startswith(_CLIENT_SCOPE_PREFIXES)]
    try:
        scope = grant_scopes(form.get("scope", ""), allowed) if allowed else ""
    except Invalid as error:
        raise OAuthError("invalid_scope", str(error)) from error
    if not scope:
        raise OAuthError("invalid_scope")
    subject = Subject(client.id, client.name, "system", client.id, client.organization)
    return _write_token_response(gateway, subject, scope, {})


def _authenticate_approved(
    request: Request, gateway: Gateway, form: dict[str, str], *, public: bool
) -> Client:
    """Return the authenticated client; refuse one that is not approved, or not any more."""
    client = authenticate_client(request, gateway, form, public=public)
    if not client.is_approved:
        raise OAuthError("unauthorized_client", "The app is not approved.")
    return client


def _find_account(gateway: Gateway, login: str, client: Client) -> accounts.Account:
    """Return the account of a grant, if the app is still offered to its role."""
    try:
        account = accounts.find_account(gateway.store, login)
    except NotFound as error:
        raise OAuthError("invalid_grant") from error
    if not client.may_be_used_by(account.role):
        raise OAuthError("invalid_grant")
    return account


def _write_grant_response(
    gateway: Gateway,
    client: Client,
    account: accounts.Account,
    grant: authorization_codes.Grant,
    refresh_token: str,
    *,
    is_first: bool,
) -> Response:
    context = grant.context
    subject = subject_of_account(account, grant.client)
    # An app of others sees nothing by an emergency that the person declared: that was for them.
    subject = replace(subject, is_app=not client.trusted)
    if context.patient:
        subject = replace(subject, patient=context.patient)
    extra: dict[str, Any] = {
        "encounter": context.encounter,
        "intent": context.intent,
        "need_patient_banner": context.need_patient_banner,
        "refresh_token": refresh_token or None,
    }
    if context.fhir_context and is_first:
        # Once: later the person may not see some of it any more.
        extra["fhirContext"] = [{"reference": reference} for reference in context.fhir_context]
    if context.need_patient_banner is not None:
        extra["smart_style_url"] = gateway.settings.style_address
    if "openid" in grant.scope.split():
        extra["id_token"] = sign_id_token(gateway, account, grant, is_first=is_first)
    return _write_token_response(gateway, subject, grant.scope, extra, grant.family)


def _write_token_response(
    gateway: Gateway, subject: Subject, scope: str, extra: dict[str, Any], family: str = ""
) -> Response:
    access_token, claims = issue_access_token(
        gateway.keys, gateway.settings, subject, scope, gateway.clock(), family
    )
    response = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": gateway.settings.token_seconds,
        "scope": scope,
        "ehr": claims["ehr"],
        "patient": subject.patient,
        **extra,
    }
    body = {name: value for name, value in response.items() if value is not None}
    return json_response(body, media_type="application/json", headers=_NO_STORE)
