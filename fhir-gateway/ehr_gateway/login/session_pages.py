"""Account pages for sessions and apps: end a session, revoke an app, log out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.login import account_lifecycle, browser
from ehr_gateway.login.signed_in_user import Form, SignedInUser, check_form, find_signed_in_user

router = APIRouter(prefix="/oauth")


@router.post("/account/sessions/end")
def end_session(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """End one session, or all but the current one: of a device, or of every device."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    if form.get("session"):
        account_lifecycle.end_session(gateway, user.account.login, form["session"])
    else:
        account_lifecycle.end_sessions(
            gateway, user.account.login, besides=user.session.id, device=form.get("device")
        )
    user.record("session-end")
    return user.redirect_home("session_ended")


@router.post("/account/apps/end")
def end_app(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Revoke what the user allowed an app."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    if account_lifecycle.end_token_family(gateway, user.account.login, form.get("app", "")):
        user.record("app-end")
    return user.redirect_home("app_ended")


@router.get("/logout")
def show_log_out(request: Request, gateway: GatewayDependency) -> Response:
    """Log out if a page of the same origin sent the browser; else ask first (CSRF)."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return _render_logged_out(gateway, pages.page_language(request))
    # A change of language on the page that asks comes from the same origin too.
    is_link = "lang" not in request.query_params
    if is_link and request.headers.get("sec-fetch-site") == "same-origin":
        return _log_out(user)
    return pages.render_page(
        "logout.html",
        user.language,
        here="/oauth/logout",
        csrf=user.csrf("/oauth/logout"),
    )


@router.post("/logout")
def log_out(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """End the session and revoke what was issued from it."""
    if find_signed_in_user(request, gateway) is None:
        return _render_logged_out(gateway, pages.page_language(request))
    user = check_form(request, gateway, form)
    return user if isinstance(user, Response) else _log_out(user)


def _log_out(user: SignedInUser) -> Response:
    account_lifecycle.end_session(user.gateway, user.account.login, user.session.id)
    user.record("logout")
    return _render_logged_out(user.gateway, user.language)


def _render_logged_out(gateway: Gateway, language: str) -> Response:
    response = pages.render_page("logged_out.html", language)
    browser.delete_cookies(response, gateway)
    return response
