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
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.html import pages
from ehr_gateway.http.body import form_fields
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
Form = Annotated[dict[str, str], Depends(form_fields)]
HOME = "/oauth/account"
# What a page may say after a change, by the word in its address.
_TOLD = frozenset(
    {
        "passkey_added",
        "passkey_removed",
        "totp_removed",
        "password_changed",
        "session_ended",
        "app_ended",
    }
)


class Stay:
    """One request of somebody who is logged in."""

    def __init__(self, request: Request, gateway: Gateway, session: sessions.LoginSession) -> None:
        self.request = request
        self.gateway = gateway
        self.session = session
        self.account: Account = accounts.find_account(gateway.store.database, session.login)
        self.language = login.language_of(request)

    @property
    def recent(self) -> bool:
        """Whether the person proved themselves a moment ago."""
        age = self.gateway.clock() - self.session.auth_ms
        return age <= self.gateway.settings.reauth_seconds * 1000

    def csrf(self, action: str) -> str:
        """Return what a form sent to an address must carry."""
        return browser.csrf(self.gateway, self.session, action)

    def record(self, interaction: str) -> None:
        """Put on record that the person did something."""
        login_audit.changed(self.request, self.gateway, self.account, interaction)

    def go(self, told: str = "") -> Response:
        """Send the person back to their account's page."""
        query = urlencode({"lang": self.language, **({"told": told} if told else {})})
        return RedirectResponse(f"{HOME}?{query}", 303, headers={"Cache-Control": "no-store"})


def stay_of(request: Request, gateway: Gateway) -> Stay | None:
    """Return who is logged in; None when nobody is."""
    session = browser.session_of(request, gateway)
    return Stay(request, gateway, session) if session else None


def log_in_first(request: Request, gateway: Gateway) -> Response:
    """Show the log-in that leads to the account's page."""
    return login.start(request, gateway, "", request.query_params.get("lang", ""))


def sent(request: Request, gateway: Gateway, form: dict[str, str]) -> Stay | Response:
    """Return who sent a form of ours; a page when nobody is logged in or the form is not ours."""
    stay = stay_of(request, gateway)
    if stay is None:
        return log_in_first(request, gateway)
    action = request.url.path
    if not browser.csrf_holds(gateway, stay.session, action, form.get("csrf", "")):
        return login.stopped(stay.language, "stale", 403)
    return stay


@router.get("/account")
def account(request: Request, gateway: TheGateway) -> Response:
    """Show the account, how its holder logs in and where they are logged in."""
    stay = stay_of(request, gateway)
    if stay is None:
        return log_in_first(request, gateway)
    return _home(stay, told=request.query_params.get("told", ""))


@router.post("/account/again")
def again(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Let the person prove themselves again, before a change."""
    stay = sent(request, gateway, form)
    return stay if isinstance(stay, Response) else log_in_first(request, gateway)


@router.post("/account/passkeys")
def add_passkey(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Add the passkey that the browser has made."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    nonce = _nonce_of(stay, form.get("nonce", ""))
    now = gateway.clock()
    added = (
        nonce is not None
        and login_state.use(gateway.store.database, "passkey", nonce, now)
        and passkeys.register_passkey(
            gateway,
            stay.account.login,
            nonce,
            form.get("credential", ""),
            form.get("name", ""),
            now,
        )
    )
    if not added:
        return _home(stay, error="wrong_passkey", field="name")
    stay.record("passkey-add")
    return stay.go("passkey_added")


@router.post("/account/passkeys/remove")
def remove_passkey(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Remove a passkey of the account."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    with gateway.store.write_transaction() as connection:
        has = factors.read_factors(connection, stay.account.login)
        if factors.needs_second_factor(stay.account) and not has.totp and has.passkeys == 1:
            return _home(stay, error="factor_needed", field="passkeys")
        passkeys.remove_passkey(connection, stay.account.login, form.get("passkey", ""))
    stay.record("passkey-remove")
    return stay.go("passkey_removed")


@router.post("/account/totp")
def set_totp(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Show a new secret for an authenticator app."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    return _totp_page(stay, factors.propose_totp(stay.account.login, gateway.form_secret))


@router.post("/account/totp/confirm")
def confirm_totp(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Put the new secret in use when its first code is right; show the recovery codes once."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    codes = factors.confirm_totp(
        gateway.store.database,
        stay.account.login,
        form.get("secret", ""),
        form.get("code", ""),
        gateway.form_secret,
        gateway.clock(),
    )
    if codes is None:
        problem = login_pages.refusal(stay.language, "wrong_code", 0)
        return _totp_page(stay, form.get("secret", ""), error=problem)
    stay.record("totp-set")
    return pages.render_page(
        "recovery.html", stay.language, here="", error="", error_field="", codes=codes, action=""
    )


@router.post("/account/totp/remove")
def remove_totp(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take the authenticator app and the recovery codes from the account."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    with gateway.store.write_transaction() as connection:
        has = factors.read_factors(connection, stay.account.login)
        if factors.needs_second_factor(stay.account) and not has.passkeys:
            return _home(stay, error="factor_needed", field="totp")
        factors.remove_totp(connection, stay.account.login)
    stay.record("totp-remove")
    return stay.go("totp_removed")


@router.post("/account/password")
def change_password(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Change the password; every other session ends."""
    stay = _sent_recently(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    name, new = stay.account.login, form.get("new", "")
    fault = passwords.find_password_fault(new, name)
    if fault:
        return _home(stay, error=fault, field="new")
    try:
        accounts.verify_password(
            gateway.store.database,
            name,
            form.get("present", ""),
            gateway.clock(),
            browser.address_of(request),
        )
    except accounts.LoginRefused as refused:
        return _home(stay, error="password_wrong", field="present", wait=refused.wait_seconds)
    accounts.set_password(gateway.store.database, name, new)
    account_lifecycle.end_sessions(gateway, name, besides=stay.session.id)
    stay.record("password-change")
    return stay.go("password_changed")


@router.post("/account/sessions/end")
def end_session(request: Request, gateway: TheGateway, form: Form) -> Response:
    """End one session, or all but this one."""
    stay = sent(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    if form.get("session"):
        account_lifecycle.end_session(gateway, stay.account.login, form["session"])
    else:
        account_lifecycle.end_sessions(gateway, stay.account.login, besides=stay.session.id)
    stay.record("session-end")
    return stay.go("session_ended")


@router.post("/account/apps/end")
def end_app(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take back what the person allowed a program."""
    stay = sent(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    if account_lifecycle.end_permission(gateway, stay.account.login, form.get("app", "")):
        stay.record("app-end")
    return stay.go("app_ended")


@router.get("/logout")
def log_out_page(request: Request, gateway: TheGateway) -> Response:
    """Log out when our own portal sends the browser; ask first when somebody else does."""
    stay = stay_of(request, gateway)
    if stay is None:
        return _logged_out(gateway, login.language_of(request))
    if request.headers.get("sec-fetch-site") == "same-origin":
        return _log_out(stay)
    return pages.render_page(
        "logout.html",
        stay.language,
        here="/oauth/logout",
        error="",
        error_field="",
        csrf=stay.csrf("/oauth/logout"),
    )


@router.post("/logout")
def log_out(request: Request, gateway: TheGateway, form: Form) -> Response:
    """End the session, and what was issued from it."""
    if stay_of(request, gateway) is None:
        return _logged_out(gateway, login.language_of(request))
    stay = sent(request, gateway, form)
    return stay if isinstance(stay, Response) else _log_out(stay)


def _log_out(stay: Stay) -> Response:
    account_lifecycle.end_session(stay.gateway, stay.account.login, stay.session.id)
    stay.record("logout")
    return _logged_out(stay.gateway, stay.language)


def _logged_out(gateway: Gateway, language: str) -> Response:
    response = pages.render_page("logged_out.html", language, here="", error="", error_field="")
    browser.forget_session(response, gateway)
    return response


def _sent_recently(request: Request, gateway: Gateway, form: dict[str, str]) -> Stay | Response:
    stay = sent(request, gateway, form)
    if isinstance(stay, Response) or stay.recent:
        return stay
    return log_in_first(request, gateway)


def _home(
    stay: Stay, *, error: str = "", field: str = "", told: str = "", wait: int = 0
) -> Response:
    gateway, name = stay.gateway, stay.account.login
    nonce = secrets.token_urlsafe(32)
    with gateway.store.read_transaction() as connection:
        has = factors.read_factors(connection, name)
        own = passkeys.list_passkeys(connection, name)
        open_ones = sessions.list_sessions(connection, name, gateway.settings, gateway.clock())
        apps = refresh_tokens.of_login(connection, gateway.settings, name, gateway.clock())
        organization = stay.account.organization
        named = login_pages.organization_names(connection, [organization] if organization else [])
        password = accounts.has_password(connection, name)
    possible = passkeys.can_use_passkeys(gateway)
    return pages.render_page(
        "account.html",
        stay.language,
        status=400 if error else 200,
        here=HOME,
        script=possible and stay.recent,
        error=login_pages.refusal(stay.language, error, wait) if error else "",
        error_field=field,
        told=pages.load_texts()[told][stay.language] if told in _TOLD else "",
        account=stay.account,
        organization=named.get(organization or "", ""),
        has=has,
        passkeys=own,
        sessions=open_ones,
        apps=[(one, approval_page.in_words(one.scope, stay.language)) for one in apps],
        here_id=stay.session.id,
        has_password=password,
        recent=stay.recent,
        possible=possible,
        csrf=stay.csrf,
        when=_when,
        proved=_when(stay.session.auth_ms),
        nonce=_sealer(stay).dumps(nonce),
        options=passkeys.build_registration_options(gateway, stay.account, nonce, own)
        if possible
        else "",
    )


def _totp_page(stay: Stay, sealed: str, *, error: str = "") -> Response:
    action, login_name = f"{HOME}/totp/confirm", stay.account.login
    if factors.unseal_totp_proposal(login_name, sealed, stay.gateway.form_secret) is None:
        sealed = factors.propose_totp(login_name, stay.gateway.form_secret)
    shown: dict[str, Any] = login_pages.secret_of(stay.gateway, login_name, sealed)
    return pages.render_page(
        "enrol.html",
        stay.language,
        status=400 if error else 200,
        here="",
        error=error,
        error_field="code",
        action=action,
        fields={"csrf": stay.csrf(action), "secret": sealed},
        **shown,
    )


def _nonce_of(stay: Stay, sealed: str) -> str | None:
    try:
        nonce: str = _sealer(stay).loads(sealed, max_age=login_state.SECONDS)
    except BadSignature:
        return None
    return nonce


def _sealer(stay: Stay) -> URLSafeTimedSerializer:
    # For this session alone: a challenge of another's page is not taken.
    return URLSafeTimedSerializer(stay.gateway.form_secret, salt=f"passkey for {stay.session.id}")


def _when(at_ms: int) -> str:
    # Hong Kong's time; the pages are its.
    return instant(at_ms + 8 * 3_600_000)[:16].replace("T", " ")
