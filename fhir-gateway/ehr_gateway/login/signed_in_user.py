"""The user of a log-in session, as the account pages need them: CSRF check, re-authentication.

A page that changes something calls `check_recent_form`: the form is from a page of this very
session (CSRF token), and the person authenticated in the last `reauth_seconds`.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response

from ehr_gateway.accounts import accounts, sessions
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.login import browser, login_audit, login_flow, login_pages

Form = Annotated[dict[str, str], Depends(read_form)]
HOME = "/oauth/account"


class SignedInUser:
    """The user of a log-in session, with the request they sent."""

    def __init__(self, request: Request, gateway: Gateway, session: sessions.LoginSession) -> None:
        self.request = request
        self.gateway = gateway
        self.session = session
        self.account: Account = accounts.find_account(gateway.store.database, session.login)
        self.language = pages.page_language(request)

    @property
    def is_recent(self) -> bool:
        """Whether the user authenticated within `reauth_seconds`."""
        age = self.gateway.clock() - self.session.auth_ms
        return age <= self.gateway.settings.reauth_seconds * 1000

    def csrf(self, action: str) -> str:
        """Return the CSRF token of a form that is sent to the path `action`."""
        return browser.csrf_token(self.gateway, self.session, action)

    def record(self, interaction: str) -> None:
        """Record an audit event of a change that the user made."""
        login_audit.record_account_change(self.request, self.gateway, self.account, interaction)

    def redirect_home(self, notice: str = "") -> Response:
        """Redirect to the account page, which shows the notice of that key."""
        query = urlencode({"lang": self.language, **({"told": notice} if notice else {})})
        return RedirectResponse(f"{HOME}?{query}", 303, headers={"Cache-Control": "no-store"})


def find_signed_in_user(request: Request, gateway: Gateway) -> SignedInUser | None:
    """Return the user of the browser's session; None without one."""
    session = browser.find_session(request, gateway)
    return SignedInUser(request, gateway, session) if session else None


def show_login(request: Request, gateway: Gateway) -> Response:
    """Show the log-in page that leads back to the account page."""
    return login_flow.show_login_page(request, gateway, "", request.query_params.get("lang", ""))


def check_form(request: Request, gateway: Gateway, form: dict[str, str]) -> SignedInUser | Response:
    """Return the user who sent a form, or the page to answer with: log-in, or a failed CSRF check.

    Callers return the page as it is.
    """
    user = find_signed_in_user(request, gateway)
    if user is None:
        return show_login(request, gateway)
    action = request.url.path
    if not browser.is_csrf_token_valid(gateway, user.session, action, form.get("csrf", "")):
        return login_pages.render_stopped_page(user.language, "stale", 403)
    return user


def check_recent_form(
    request: Request, gateway: Gateway, form: dict[str, str]
) -> SignedInUser | Response:
    """Return the user who sent a form if they authenticated recently, else the page to answer."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response) or user.is_recent:
        return user
    return show_login(request, gateway)
