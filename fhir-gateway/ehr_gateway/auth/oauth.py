"""The OAuth 2 endpoints: authorize with PKCE, token, JWKS (RFC 6749, 7636, 7517)."""

from __future__ import annotations

import base64
import re
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import QueryParams

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.auth import accounts, clients, codes, login
from ehr_gateway.auth.authorize_request import back, seal
from ehr_gateway.auth.local import subject_of
from ehr_gateway.auth.roles import granted
from ehr_gateway.auth.tokens import Subject, issue
from ehr_gateway.body import form_fields
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.negotiation import json_response

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]

_CHALLENGE = re.compile(r"^[A-Za-z0-9_-]{43}$")


@router.get("/authorize")
def authorize(request: Request, gateway: TheGateway) -> Response:
    """Check what the client asks, then show the ways to log in."""
    asked = request.query_params
    language = login.language_of(request, asked.get("ui_locales", ""))
    client = _client_of(gateway, asked)
    if client is None:
        return login.stopped(language, "client_wrong")
    problem = _problem(asked, gateway)
    if problem is not None:
        return back(asked["redirect_uri"], {"error": problem, "state": asked.get("state", "")})
    sealed = seal(
        gateway,
        {
            "client": client.id,
            "name": client.name,
            "redirect": asked["redirect_uri"],
            "challenge": asked["code_challenge"],
            "scope": asked.get("scope", ""),
            "state": asked.get("state", ""),
            "ui_locales": asked.get("ui_locales", ""),
            "prompt": asked.get("prompt", ""),
            "max_age": asked.get("max_age", ""),
        },
    )
    return login.begin(request, gateway, sealed)


@router.post("/token")
def token(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Exchange a code, or a program's secret, for an access token."""
    grant_type = form.get("grant_type", "")
    if grant_type == "authorization_code":
        return _code_token(request, gateway, form)
    if grant_type == "client_credentials":
        return _client_token(request, gateway, form)
    return _token_error("unsupported_grant_type" if grant_type else "invalid_request")


@router.get("/jwks")
def jwks(gateway: TheGateway) -> Response:
    """Serve the public keys that verify our tokens."""
    return json_response(gateway.keys.public(), media_type="application/json")


def _client_of(gateway: Gateway, asked: QueryParams) -> clients.Client | None:
    # Until client and address are known to belong together, nothing may be sent to that address.
    try:
        client = clients.find(gateway.store, asked.get("client_id", ""))
    except NotFound:
        return None
    base_url = gateway.settings.base_url
    known = clients.accepts_redirect(client, asked.get("redirect_uri", ""), base_url)
    return client if known else None


def _problem(asked: QueryParams, gateway: Gateway) -> str | None:
    names = [name for name, _ in asked.multi_items()]
    if len(names) != len(set(names)):
        return "invalid_request"
    if asked.get("response_type") != "code":
        return "unsupported_response_type"
    if asked.get("aud", gateway.settings.fhir_base) != gateway.settings.fhir_base:
        return "invalid_request"
    proves = asked.get("code_challenge_method") == "S256"
    return (
        None if proves and _CHALLENGE.match(asked.get("code_challenge", "")) else "invalid_request"
    )


def _code_token(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    client_id, secret = _credentials(request, form)
    try:
        client = clients.find(gateway.store, client_id)
    except NotFound:
        return _token_error("invalid_client", 401)
    if client.confidential and not clients.verify_client(gateway.store, client_id, secret):
        return _token_error("invalid_client", 401)
    grant = codes.redeem(
        gateway.store,
        form.get("code", ""),
        client_id,
        form.get("redirect_uri", ""),
        form.get("code_verifier", ""),
        gateway.clock(),
    )
    if grant is None:
        return _token_error("invalid_grant")
    try:
        account = accounts.find(gateway.store, grant.login)
    except NotFound:
        return _token_error("invalid_grant")
    return _token_answer(gateway, subject_of(account, client_id), grant.scope)


def _client_token(request: Request, gateway: Gateway, form: dict[str, str]) -> Response:
    client_id, secret = _credentials(request, form)
    if not clients.verify_client(gateway.store, client_id, secret):
        return _token_error("invalid_client", 401)
    client = clients.find(gateway.store, client_id)
    scope = granted(form.get("scope", ""), client.scope.split())
    if not scope:
        return _token_error("invalid_scope")
    subject = Subject(client.id, client.name, "system", client.id, client.organization)
    return _token_answer(gateway, subject, scope)


def _token_answer(gateway: Gateway, subject: Subject, scope: str) -> Response:
    signed, claims = issue(gateway.keys, gateway.settings, subject, scope, gateway.clock())
    answer = {
        "access_token": signed,
        "token_type": "Bearer",
        "expires_in": gateway.settings.token_seconds,
        "scope": scope,
        "ehr": claims["ehr"],
    }
    if subject.patient:
        answer["patient"] = subject.patient
    return json_response(answer, media_type="application/json", headers=_NO_STORE)


def _token_error(code: str, status: int = 400) -> Response:
    headers = dict(_NO_STORE)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="eHR Commons"'
    return json_response(
        {"error": code}, status=status, media_type="application/json", headers=headers
    )


_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    header = request.headers.get("authorization", "")
    if header[:6].lower() != "basic ":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
    except ValueError as error:
        raise Invalid("The Authorization header is not Basic credentials.") from error
    return unquote(name), unquote(secret)
