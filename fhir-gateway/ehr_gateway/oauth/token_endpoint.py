"""`/oauth/token`: a code, a refresh token or a program's proof for an access token (RFC 6749)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.body import form_fields
from ehr_gateway.http.negotiation import json_response
from ehr_gateway.http.oauth_errors import OAuthError
from ehr_gateway.oauth import authorization_codes, refresh_tokens
from ehr_gateway.oauth.allowed_scopes import allowed_to
from ehr_gateway.oauth.client_authentication import authenticated
from ehr_gateway.oauth.id_token import id_token
from ehr_gateway.oauth.offline_tokens import subject_of
from ehr_gateway.oauth.revoke_endpoint import end_family
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.scope_grants import grant_scopes, narrow_scopes

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_LASTING = ("offline_access", "online_access")
# What a program may have by itself; its other scopes are for what a person allows it.
_BY_ITSELF = ("system/", "ehr/")


@router.post("/token")
def token(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Exchange a code, a refresh token, or a program's proof for an access token."""
    grant_type = form.get("grant_type", "")
    if grant_type == "authorization_code":
        return _by_code(request, gateway, form)
    if grant_type == "refresh_token":
        return _by_refresh_token(request, gateway, form)
    if grant_type == "client_credentials":
        return _by_credentials(request, gateway, form)
    raise OAuthError("unsupported_grant_type" if grant_type else "invalid_request")


def _by_code(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    client = authenticated(request, gateway, form, public=True)
    redeemed = authorization_codes.redeem(
        gateway.store,
        form.get("code", ""),
        client.id,
        form.get("redirect_uri", ""),
        form.get("code_verifier", ""),
        gateway.clock(),
    )
    if redeemed.replayed:
        # Two have the code: what the first of them got ends (RFC 6749 §4.1.2).
        end_family(gateway, redeemed.replayed)
    if redeemed.grant is None:
        raise OAuthError("invalid_grant")
    account = _account(gateway, redeemed.grant.login)
    grant = redeemed.grant
    lasts = any(word in _LASTING for word in grant.scope.split())
    lasting = refresh_tokens.start(gateway.store, grant, gateway.clock(), lasting=lasts)
    if lasting is None:
        raise OAuthError("invalid_grant")
    return _answer_person(gateway, account, grant, lasting, fresh=True)


def _by_refresh_token(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    if not {"client_id", "client_assertion"} & set(form) and "authorization" not in request.headers:
        # RFC 6749 §6 has no client_id here, and SMART's own client sends none for a public app. A
        # client that can prove itself still must.
        found = refresh_tokens.client_of(gateway.store.database, form.get("refresh_token", ""))
        if found is None:
            raise OAuthError("invalid_grant")
        form = {**form, "client_id": found}
    client = authenticated(request, gateway, form, public=True)
    refreshed = refresh_tokens.rotate(
        gateway.store,
        gateway.settings,
        token=form.get("refresh_token", ""),
        client=client.id,
        scope=form.get("scope", ""),
        now_ms=gateway.clock(),
    )
    if refreshed.ended:
        end_family(gateway, refreshed.ended)
    if refreshed.grant is None:
        raise OAuthError(refreshed.error)
    account = _account(gateway, refreshed.grant.login)
    # The role or the registration may allow less than on the day of the log-in.
    allowed = allowed_to(client, account, refreshed.grant.context.patient)
    grant = replace(refreshed.grant, scope=narrow_scopes(refreshed.grant.scope, allowed))
    return _answer_person(gateway, account, grant, refreshed.token, fresh=False)


def _by_credentials(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    client = authenticated(request, gateway, form, public=False)
    allowed = [word for word in client.scope.split() if word.startswith(_BY_ITSELF)]
    try:
        scope = grant_scopes(form.get("scope", ""), allowed) if allowed else ""
    except Invalid as error:
        raise OAuthError("invalid_scope", str(error)) from error
    if not scope:
        raise OAuthError("invalid_scope")
    subject = Subject(client.id, client.name, "system", client.id, client.organization)
    return _answer(gateway, subject, scope, {})


def _account(gateway: Gateway, login: str) -> accounts.Account:
    try:
        return accounts.find_account(gateway.store, login)
    except NotFound as error:
        raise OAuthError("invalid_grant") from error


def _answer_person(
    gateway: Gateway,
    account: accounts.Account,
    grant: authorization_codes.Grant,
    lasting: str,
    *,
    fresh: bool,
) -> Response:
    context = grant.context
    subject = subject_of(account, grant.client)
    if context.patient:
        subject = replace(subject, patient=context.patient)
    more: dict[str, Any] = {
        "encounter": context.encounter,
        "intent": context.intent,
        "need_patient_banner": context.need_patient_banner,
        "refresh_token": lasting or None,
    }
    if context.need_patient_banner is not None:
        more["smart_style_url"] = gateway.settings.style_address
    if "openid" in grant.scope.split():
        more["id_token"] = id_token(gateway, account, grant, fresh=fresh)
    return _answer(gateway, subject, grant.scope, more, grant.family)


def _answer(
    gateway: Gateway, subject: Subject, scope: str, more: dict[str, Any], family: str = ""
) -> Response:
    signed, claims = issue_access_token(
        gateway.keys, gateway.settings, subject, scope, gateway.clock(), family
    )
    answer = {
        "access_token": signed,
        "token_type": "Bearer",
        "expires_in": gateway.settings.token_seconds,
        "scope": scope,
        "ehr": claims["ehr"],
        "patient": subject.patient,
        **more,
    }
    body = {name: value for name, value in answer.items() if value is not None}
    return json_response(body, media_type="application/json", headers=_NO_STORE)
