"""The log-in pages: a person proves who they are for a sealed authorize request."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.auth import accounts, pages
from ehr_gateway.auth.authorize_request import opened
from ehr_gateway.auth.authorized import Authentication, authorized
from ehr_gateway.body import form_fields
from ehr_gateway.gateway import Gateway, TheGateway

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]

_STATIC = {"oauth.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def begin(request: Request, gateway: Gateway, sealed: str) -> Response:
    """Start the log-in for a sealed authorize request that was checked a moment ago."""
    asked = opened(gateway, sealed) or {}
    return _login_page(language_of(request, asked.get("ui_locales", "")), asked, sealed)


@router.get("/login")
def login_page(request: Request, gateway: TheGateway) -> Response:
    """Show the ways to log in again, as in another language."""
    return _show(request, gateway, _login_page)


@router.post("/login")
def login(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Log a member of staff in by password."""
    language = language_of(request)
    sealed = form.get("request", "")
    asked = opened(gateway, sealed)
    if asked is None:
        return stopped(language, "stale")
    name = form.get("login", "").strip()
    try:
        account = accounts.verify_password(
            gateway.store, name, form.get("password", ""), gateway.clock()
        )
    except accounts.LoginRefused as refused:
        problem = _refusal(language, "wrong_password", refused)
        return _login_page(language, asked, sealed, error=problem, login=name)
    who = Authentication(account, gateway.clock(), ("pwd",))
    return authorized(gateway, asked, who, str(request.state.request_id))


@router.get("/eid")
def eid_page(request: Request, gateway: TheGateway) -> Response:
    """Show the simulator of the electronic identity."""
    return _show(request, gateway, _eid_page)


@router.post("/eid")
def eid_login(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Log a patient or carer in by the simulated electronic identity."""
    language = language_of(request)
    sealed = form.get("request", "")
    asked = opened(gateway, sealed)
    if asked is None:
        return stopped(language, "stale")
    try:
        account = accounts.verify_eid(
            gateway.store, form.get("hkid", ""), form.get("pin", ""), gateway.clock()
        )
    except accounts.LoginRefused as refused:
        return _eid_page(language, asked, sealed, error=_refusal(language, "wrong_pin", refused))
    who = Authentication(account, gateway.clock())
    return authorized(gateway, asked, who, str(request.state.request_id))


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Serve the style sheet and the icon of the log-in pages."""
    if name not in _STATIC:
        raise NotFound("There is no such file.")
    content = resources.files("ehr_gateway").joinpath("auth/static", name).read_bytes()
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=_STATIC[name], headers=headers)


def language_of(request: Request, asked: str = "") -> str:
    """Return the language of the page that answers a request."""
    wanted = request.query_params.get("lang", "") or asked
    return pages.choose_language(wanted, request.headers.get("accept-language", ""))


def stopped(language: str, reason: str) -> Response:
    """Return the page that says why a log-in cannot go on; it leads nowhere."""
    return pages.page(
        "stopped.html", language, status=400, here="", error="", error_field="", reason=reason
    )


def _show(request: Request, gateway: Gateway, render: Any) -> Response:
    # `render` is one of the two page functions below; their optional keywords differ.
    language = language_of(request)
    sealed = request.query_params.get("request", "")
    asked = opened(gateway, sealed)
    if asked is None:
        return stopped(language, "stale")
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


def _refusal(language: str, key: str, refused: accounts.LoginRefused) -> str:
    if refused.wait_seconds:
        return pages.texts()["wait"][language].format(seconds=refused.wait_seconds)
    return pages.texts()[key][language]
