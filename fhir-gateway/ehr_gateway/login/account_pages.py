"""The pages on which a person manages how they log in: passkeys, app, password, sessions.

Each needs a log-in session; each change needs that the person proved themselves a moment ago.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ehr_fhir.intervals import instant
from ehr_gateway.accounts import accounts, factors, passkeys, passwords, sessions
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.login import (
    account_lifecycle,
    browser,
    login,
    login_audit,
    login_pages,
    login_state,
)
from ehr_gateway.oauth import approval_page, refresh_tokens

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]
HOME = "/oauth/account"
# What a page may say after a change, by the word in its address.
_NOTICES = frozenset(
    {
        "passkey_added",
        "passkey_removed",
        "totp_removed",
        "password_changed",
        "session_ended",
        "app_ended",
    }
)


class SignedInUser:
    """One request of somebody who is logged in."""

    def __init__(self, request: Request, gateway: Gateway, session: sessions.LoginSession) -> None:
        self.request = request
        self.gateway = gateway
        self.session = session
        self.account: Account = accounts.find_account(gateway.store.database, session.login)
        self.language = login.page_language(request)

    @property
    def recent(self) -> bool:
        """Whether the person proved themselves a moment ago."""
        age = self.gateway.clock() - self.session.auth_ms
        return age <= self.gateway.settings.reauth_seconds * 1000

    def csrf(self, action: str) -> str:
        """Return what a form sent to an address must carry."""
        return browser.csrf_token(self.gateway, self.session, action)

    def record(self, interaction: str) -> None:
        """Put on record that the person did something."""
        login_audit.record_account_change(self.request, self.gateway, self.account, interaction)

    def go(self, notice: str = "") -> Response:
        """Send the person back to their account's page."""
        query = urlencode({"lang": self.language, **({"told": notice} if notice else {})})
        return RedirectResponse(f"{HOME}?{query}", 303, headers={"Cache-Control": "no-store"})


def find_signed_in_user(request: Request, gateway: Gateway) -> SignedInUser | None:
    """Return who is logged in; None when nobody is."""
    session = browser.find_session(request, gateway)
    return SignedInUser(request, gateway, session) if session else None


def show_login(request: Request, gateway: Gateway) -> Response:
    """Show the log-in that leads to the account's page."""
    return login.show_login_page(request, gateway, "", request.query_params.get("lang", ""))


def check_form(request: Request, gateway: Gateway, form: dict[str, str]) -> SignedInUser | Response:
    """Return who sent a form of ours; a page when nobody is logged in or the form is not ours."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return show_login(request, gateway)
    action = request.url.path
    if not browser.is_csrf_token_valid(gateway, user.session, action, form.get("csrf", "")):
        return login.render_stopped_page(user.language, "stale", 403)
    return user


@router.get("/account")
def show_account(request: Request, gateway: GatewayDependency) -> Response:
    """Show the account, how its holder logs in and where they are logged in."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return show_login(request, gateway)
    return _render_account_page(user, notice=request.query_params.get("told", ""))


@router.post("/account/again")
def authenticate_again(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Let the person prove themselves again, before a change."""
    user = check_form(request, gateway, form)
    return user if isinstance(user, Response) else show_login(request, gateway)


@router.post("/account/passkeys")
def add_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Add the passkey that the browser has made."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    nonce = _unseal_nonce(user, form.get("nonce", ""))
    now = gateway.clock()
    added = (
        nonce is not None
        and login_state.consume_nonce(gateway.store.database, "passkey", nonce, now)
        and passkeys.register_passkey(
            gateway,
            user.account.login,
            nonce,
            form.get("credential", ""),
            form.get("name", ""),
            now,
        )
    )
    if not added:
        return _render_account_page(user, error="wrong_passkey", field="name")
    user.record("passkey-add")
    return user.go("passkey_added")


@router.post("/account/passkeys/remove")
def remove_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Remove a passkey of the account."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    with gateway.store.write_transaction() as connection:
        enrolled = factors.read_factors(connection, user.account.login)
        if (
            factors.needs_second_factor(user.account)
            and not enrolled.totp
            and enrolled.passkeys == 1
        ):
            return _render_account_page(user, error="factor_needed", field="passkeys")
        passkeys.remove_passkey(connection, user.account.login, form.get("passkey", ""))
    user.record("passkey-remove")
    return user.go("passkey_removed")


@router.post("/account/totp")
def propose_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Show a new secret for an authenticator app."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    return _render_totp_page(user, factors.propose_totp(user.account.login, gateway.form_secret))


@router.post("/account/totp/confirm")
def confirm_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Put the new secret in use when its first code is right; show the recovery codes once."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    codes = factors.confirm_totp(
        gateway.store.database,
        user.account.login,
        form.get("secret", ""),
        form.get("code", ""),
        gateway.form_secret,
        gateway.clock(),
    )
    if codes is None:
        error = login_pages.refusal_text(user.language, "wrong_code", 0)
        return _render_totp_page(user, form.get("secret", ""), error=error)
    user.record("totp-set")
    return pages.render_page(
        "recovery.html",
        user.language,
        here="",
        error="",
        error_field="",
        codes=codes,
        action="",
    )


@router.post("/account/totp/remove")
def remove_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Take the authenticator app and the recovery codes from the account."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    with gateway.store.write_transaction() as connection:
        enrolled = factors.read_factors(connection, user.account.login)
        if factors.needs_second_factor(user.account) and not enrolled.passkeys:
            return _render_account_page(user, error="factor_needed", field="totp")
        factors.remove_totp(connection, user.account.login)
    user.record("totp-remove")
    return user.go("totp_removed")


@router.post("/account/password")
def change_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Change the password; every other session ends."""
    user = _check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    name, new = user.account.login, form.get("new", "")
    fault = passwords.find_password_fault(new, name)
    if fault:
        return _render_account_page(user, error=fault, field="new")
    try:
        accounts.verify_password(
            gateway.store.database,
            name,
            form.get("present", ""),
            gateway.clock(),
            browser.client_network(request),
        )
    except accounts.LoginRefused as refused:
        return _render_account_page(
            user, error="password_wrong", field="present", wait=refused.wait_seconds
        )
    accounts.set_password(gateway.store.database, name, new)
    account_lifecycle.end_sessions(gateway, name, besides=user.session.id)
    user.record("password-change")
    return user.go("password_changed")


@router.post("/account/sessions/end")
def end_session(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """End one session, or all but this one."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    if form.get("session"):
        account_lifecycle.end_session(gateway, user.account.login, form["session"])
    else:
        account_lifecycle.end_sessions(gateway, user.account.login, besides=user.session.id)
    user.record("session-end")
    return user.go("session_ended")


@router.post("/account/apps/end")
def end_app(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Take back what the person allowed a program."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    if account_lifecycle.end_token_family(gateway, user.account.login, form.get("app", "")):
        user.record("app-end")
    return user.go("app_ended")


@router.get("/logout")
def show_log_out(request: Request, gateway: GatewayDependency) -> Response:
    """Log out when our own portal sends the browser; ask first when somebody else does."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return _render_logged_out(gateway, login.page_language(request))
    if request.headers.get("sec-fetch-site") == "same-origin":
        return _log_out(user)
    return pages.render_page(
        "logout.html",
        user.language,
        here="/oauth/logout",
        error="",
        error_field="",
        csrf=user.csrf("/oauth/logout"),
    )


@router.post("/logout")
def log_out(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """End the session, and what was issued from it."""
    if find_signed_in_user(request, gateway) is None:
        return _render_logged_out(gateway, login.page_language(request))
    user = check_form(request, gateway, form)
    return user if isinstance(user, Response) else _log_out(user)


def _log_out(user: SignedInUser) -> Response:
    account_lifecycle.end_session(user.gateway, user.account.login, user.session.id)
    user.record("logout")
    return _render_logged_out(user.gateway, user.language)


def _render_logged_out(gateway: Gateway, language: str) -> Response:
    response = pages.render_page("logged_out.html", language, here="", error="", error_field="")
    browser.delete_cookies(response, gateway)
    return response


def _check_recent_form(
    request: Request, gateway: Gateway, form: dict[str, str]
) -> SignedInUser | Response:
    user = check_form(request, gateway, form)
    if isinstance(user, Response) or user.recent:
        return user
    return show_login(request, gateway)


def _render_account_page(
    user: SignedInUser,
    *,
    error: str = "",
    field: str = "",
    notice: str = "",
    wait: int = 0,
) -> Response:
    gateway, name = user.gateway, user.account.login
    nonce = secrets.token_urlsafe(32)
    with gateway.store.read_transaction() as connection:
        enrolled = factors.read_factors(connection, name)
        own_passkeys = passkeys.list_passkeys(connection, name)
        open_sessions = sessions.list_sessions(connection, name, gateway.settings, gateway.clock())
        apps = refresh_tokens.list_families(connection, gateway.settings, name, gateway.clock())
        organization = user.account.organization
        organization_names = login_pages.find_organization_names(
            connection, [organization] if organization else []
        )
        password = accounts.has_password(connection, name)
    passkeys_possible = passkeys.can_use_passkeys(gateway)
    return pages.render_page(
        "account.html",
        user.language,
        status=400 if error else 200,
        here=HOME,
        script=passkeys_possible and user.recent,
        error=login_pages.refusal_text(user.language, error, wait) if error else "",
        error_field=field,
        notice=pages.load_texts()[notice][user.language] if notice in _NOTICES else "",
        account=user.account,
        organization=organization_names.get(organization or "", ""),
        factors=enrolled,
        passkeys=own_passkeys,
        sessions=open_sessions,
        apps=[(app, approval_page.describe_scopes(app.scope, user.language)) for app in apps],
        here_id=user.session.id,
        has_password=password,
        recent=user.recent,
        passkeys_possible=passkeys_possible,
        csrf=user.csrf,
        when=_local_time,
        proved=_local_time(user.session.auth_ms),
        nonce=_nonce_sealer(user).dumps(nonce),
        options=passkeys.build_registration_options(gateway, user.account, nonce, own_passkeys)
        if passkeys_possible
        else "",
    )


def _render_totp_page(user: SignedInUser, sealed: str, *, error: str = "") -> Response:
    action, login_name = f"{HOME}/totp/confirm", user.account.login
    if factors.unseal_totp_proposal(login_name, sealed, user.gateway.form_secret) is None:
        sealed = factors.propose_totp(login_name, user.gateway.form_secret)
    secret_values: dict[str, Any] = login_pages.totp_secret_values(user.gateway, login_name, sealed)
    return pages.render_page(
        "enrol.html",
        user.language,
        status=400 if error else 200,
        here="",
        error=error,
        error_field="code",
        action=action,
        fields={"csrf": user.csrf(action), "secret": sealed},
        **secret_values,
    )


def _unseal_nonce(user: SignedInUser, sealed: str) -> str | None:
    try:
        nonce: str = _nonce_sealer(user).loads(sealed, max_age=login_state.LIFETIME_SECONDS)
    except BadSignature:
        return None
    return nonce


def _nonce_sealer(user: SignedInUser) -> URLSafeTimedSerializer:
    # For this session alone: a challenge of another's page is not taken.
    return URLSafeTimedSerializer(user.gateway.form_secret, salt=f"passkey for {user.session.id}")


def _local_time(at_ms: int) -> str:
    # Hong Kong's time; the pages are its.
    return instant(at_ms + 8 * 3_600_000)[:16].replace("T", " ")
