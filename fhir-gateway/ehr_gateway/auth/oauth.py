"""The OAuth 2 endpoints: authorize with PKCE, log-in pages, token, JWKS (RFC 6749, 7636, 7517)."""

from __future__ import annotations

import base64
import re
from importlib import resources
from typing import Annotated, Any
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import QueryParams

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway import audit
from ehr_gateway.auth import accounts, clients, codes, pages
from ehr_gateway.auth.local import subject_of
from ehr_gateway.auth.roles import granted, roles
from ehr_gateway.auth.tokens import Subject, issue
from ehr_gateway.body import form_fields
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.negotiation import json_response

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]

_CHALLENGE = re.compile(r"^[A-Za-z0-9_-]{43}$")
# How long a log-in page may stay open.
_PAGE_SECONDS = 900
_STATIC = {"oauth.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


@router.get("/authorize")
def authorize(request: Request, gateway: TheGateway) -> Response:
    """Check what the client asks, then show the ways to log in."""
    asked = request.query_params
    language = _language(request, asked.get("ui_locales", ""))
    client = _client_of(gateway, asked)
    if client is None:
        return _stopped(language, "client_wrong")
    problem = _problem(asked, gateway)
    if problem is not None:
        return _back(asked["redirect_uri"], {"error": problem, "state": asked.get("state", "")})
    sealed = _sealer(gateway).dumps(
        {
            "client": client.id,
            "name": client.name,
            "redirect": asked["redirect_uri"],
            "challenge": asked["code_challenge"],
            "scope": asked.get("scope", ""),
            "state": asked.get("state", ""),
        }
    )
    return _login_page(language, _open(gateway, sealed) or {}, sealed)


@router.get("/login")
def login_page(request: Request, gateway: TheGateway) -> Response:
    """Show the ways to log in again, as in another language."""
    return _show(request, gateway, _login_page)


@router.post("/login")
def login(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Log a member of staff in by password."""
    language = _language(request)
    sealed = form.get("request", "")
    asked = _open(gateway, sealed)
    if asked is None:
        return _stopped(language, "stale")
    name = form.get("login", "").strip()
    try:
        account = accounts.verify_password(
            gateway.store, name, form.get("password", ""), gateway.clock()
        )
    except accounts.LoginRefused as refused:
        problem = _refusal(language, "wrong_password", refused)
        return _login_page(language, asked, sealed, error=problem, login=name)
    return _send_code(gateway, asked, account, str(request.state.request_id))


@router.get("/eid")
def eid_page(request: Request, gateway: TheGateway) -> Response:
    """Show the simulator of the electronic identity."""
    return _show(request, gateway, _eid_page)


@router.post("/eid")
def eid_login(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Log a patient or carer in by the simulated electronic identity."""
    language = _language(request)
    sealed = form.get("request", "")
    asked = _open(gateway, sealed)
    if asked is None:
        return _stopped(language, "stale")
    try:
        account = accounts.verify_eid(
            gateway.store, form.get("hkid", ""), form.get("pin", ""), gateway.clock()
        )
    except accounts.LoginRefused as refused:
        return _eid_page(language, asked, sealed, error=_refusal(language, "wrong_pin", refused))
    return _send_code(gateway, asked, account, str(request.state.request_id))


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


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Serve the style sheet and the icon of the log-in pages."""
    if name not in _STATIC:
        raise NotFound("There is no such file.")
    content = resources.files("ehr_gateway").joinpath("auth/static", name).read_bytes()
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=_STATIC[name], headers=headers)


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


def _show(request: Request, gateway: Gateway, render: Any) -> Response:
    # `render` is one of the two page functions below; their optional keywords differ.
    language = _language(request)
    sealed = request.query_params.get("request", "")
    asked = _open(gateway, sealed)
    if asked is None:
        return _stopped(language, "stale")
    response: Response = render(language, asked, sealed)
    return response


def _login_page(
    language: str, asked: dict[str, str], sealed: str, *, error: str = "", login: str = ""
) -> Response:
    return pages.page(
        "login.html",
        language,
        status=401 if error else 200,
        goes_to=asked["redirect"],
        here="/oauth/login",
        request_token=sealed,
        client=asked["name"],
        error=error,
        error_field="login",
        login=login,
    )


def _eid_page(language: str, asked: dict[str, str], sealed: str, *, error: str = "") -> Response:
    return pages.page(
        "eid.html",
        language,
        status=401 if error else 200,
        goes_to=asked["redirect"],
        here="/oauth/eid",
        request_token=sealed,
        error=error,
        error_field="hkid",
    )


def _stopped(language: str, reason: str) -> Response:
    return pages.page(
        "stopped.html", language, status=400, here="", error="", error_field="", reason=reason
    )


def _refusal(language: str, key: str, refused: accounts.LoginRefused) -> str:
    if refused.wait_seconds:
        return pages.texts()["wait"][language].format(seconds=refused.wait_seconds)
    return pages.texts()[key][language]


def _send_code(
    gateway: Gateway, asked: dict[str, str], account: accounts.Account, request_id: str
) -> Response:
    scope = granted(asked["scope"], roles()[account.role].scopes)
    grant = codes.Grant(
        asked["client"], account.login, asked["redirect"], asked["challenge"], scope
    )
    code = codes.issue_code(gateway.store, grant, gateway.clock())
    occasion = audit.Occasion(
        subject_of(account, asked["client"]),
        roles()[account.role].purpose,
        gateway.clock(),
        request_id,
        "login",
    )
    with gateway.store.writing() as connection:
        audit.record_about(connection, occasion, account.patient)
    return _back(asked["redirect"], {"code": code, "state": asked["state"]})


def _back(address: str, values: dict[str, str]) -> Response:
    query = urlencode({name: value for name, value in values.items() if value})
    joined = f"{address}{'&' if '?' in address else '?'}{query}"
    return RedirectResponse(joined, 303, headers={"Cache-Control": "no-store"})


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


def _language(request: Request, asked: str = "") -> str:
    wanted = request.query_params.get("lang", "") or asked
    return pages.choose_language(wanted, request.headers.get("accept-language", ""))


def _sealer(gateway: Gateway) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(gateway.form_secret, salt="log-in page")


def _open(gateway: Gateway, sealed: str) -> dict[str, str] | None:
    try:
        opened: dict[str, str] = _sealer(gateway).loads(sealed, max_age=_PAGE_SECONDS)
    except BadSignature:
        return None
    return opened
