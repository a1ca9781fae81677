"""The log-in: a person proves who they are for a sealed authorize request, step by step.

Password, then a code where the account has or needs a second factor; or a passkey; or the
electronic identity (`eid_pages`). Who has several accounts chooses one. Then the session begins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import accounts, factors, passkeys, passwords, sessions, throttle
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.http.body import read_form
from ehr_gateway.login import account_lifecycle, browser, login_audit, login_pages, login_state
from ehr_gateway.login.login_pages import page_language, render_stopped_page
from ehr_gateway.login.login_state import LoginState
from ehr_gateway.oauth import authorize_request
from ehr_gateway.oauth.authorization_response import Authentication, respond_to_authorize_request

__all__ = [
    "begin_login",
    "continue_login",
    "page_language",
    "render_stopped_page",
    "router",
    "show_login_page",
]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]


def begin_login(request: Request, gateway: Gateway, sealed: str) -> Response:
    """Answer a sealed authorize request that was checked a moment ago: by the session, or pages.

    `prompt` and `max_age` are honoured as OpenID Connect Core §3.1.2.1 says.
    """
    parameters = authorize_request.unseal_request(gateway, sealed) or {}
    prompts = parameters.get("prompt", "").split()
    session = browser.find_session(request, gateway)
    if session and not {"login", "select_account"} & set(prompts):
        age, max_age = gateway.clock() - session.auth_ms, parameters.get("max_age", "")
        if not max_age.isdigit() or age <= int(max_age) * 1000:
            return _respond_for_session(request, gateway, parameters, session)
    if "none" in prompts:
        return authorize_request.redirect_with_error(gateway, parameters, "login_required")
    return show_login_page(request, gateway, sealed, parameters.get("ui_locales", ""))


def show_login_page(request: Request, gateway: Gateway, sealed: str, locales: str = "") -> Response:
    """Show the ways to log in; the browser gets its mark when it has none."""
    mark = browser.read_browser_id(request, gateway)
    value = "" if mark else browser.generate_browser_cookie()
    state = LoginState(sealed, mark or browser.hash_browser_cookie(value))
    login_hint = login_pages.read_login_hint(gateway, state)
    response = login_pages.render_login_page(
        gateway, state, page_language(request, locales), login=login_hint
    )
    if value:
        browser.set_browser_cookie(response, gateway, value)
    return response


@router.get("/login")
def show_current_page(request: Request, gateway: GatewayDependency) -> Response:
    """Show again where the log-in stands, as in another language."""
    language = page_language(request)
    state = _unseal_state(request, gateway, request.query_params.get("request", ""))
    if state is None:
        return render_stopped_page(language, "stale")
    return _render_next_page(gateway, state, language) or render_stopped_page(language, "stale")


@router.post("/login")
def submit_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check a password."""
    language = page_language(request)
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None:
        return render_stopped_page(language, "stale")
    name = form.get("login", "").strip()
    try:
        account = accounts.verify_password(
            gateway.store.database,
            name,
            form.get("password", ""),
            gateway.clock(),
            browser.client_network(request),
        )
    except accounts.LoginRefused as refused:
        if not refused.wait_seconds:
            login_audit.record_refused_login(request, gateway, name, "login")
        problem = login_pages.refusal_text(language, "wrong_password", refused.wait_seconds)
        return login_pages.render_login_page(gateway, state, language, error=problem, login=name)
    # What was proved before is forgotten: this is a new beginning.
    fresh = LoginState(state.request, state.browser)
    return continue_login(request, gateway, fresh.proved(account.login, gateway.clock(), "pwd"))


@router.post("/login/code")
def submit_code(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check the code of an authenticator app, or a recovery code."""
    language = page_language(request)
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login:
        return render_stopped_page(language, "stale")
    name, address = f"code:{state.login}", browser.client_network(request)
    database, now = gateway.store.database, gateway.clock()
    wait = throttle.admit_attempt(database, name, address, now)
    typed = form.get("code", "")
    if wait or not factors.verify_code(database, state.login, typed, gateway.form_secret, now):
        if not wait:
            login_audit.record_refused_login(request, gateway, state.login, "login-code")
        problem = login_pages.refusal_text(language, "wrong_code", wait)
        return login_pages.render_code_page(gateway, state, language, error=problem)
    with database.write_transaction() as connection:
        throttle.record_success(connection, name, address)
    return continue_login(request, gateway, state.proved(state.login, now, "otp"))


@router.post("/login/passkey")
def submit_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check a passkey."""
    language = page_language(request)
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None:
        return render_stopped_page(language, "stale")
    now = gateway.clock()
    name = None
    if login_state.consume_nonce(gateway.store.database, "passkey", state.nonce, now):
        name = passkeys.verify_passkey(gateway, state.nonce, form.get("credential", ""), now)
    if name is None or (state.login and name != state.login):
        login_audit.record_refused_login(request, gateway, state.login, "login-passkey")
        problem = login_pages.refusal_text(language, "wrong_passkey", 0)
        fresh = LoginState(state.request, state.browser)
        return login_pages.render_login_page(
            gateway, fresh, language, error=problem, field="passkey"
        )
    return continue_login(request, gateway, state.proved(name, now, "hwk"))


@router.post("/login/password")
def submit_new_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Take the password that a person chooses in place of the one they were given."""
    language = page_language(request)
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login or _find_missing_step(gateway, state) != "password":
        return render_stopped_page(language, "stale")
    new = form.get("new", "")
    fault_key = passwords.find_password_fault(new, state.login)
    if not fault_key and accounts.is_current_password(gateway.store.database, state.login, new):
        fault_key = "password_given"
    if fault_key:
        problem = login_pages.refusal_text(language, fault_key, 0)
        return login_pages.render_password_page(gateway, state, language, error=problem)
    accounts.set_password(gateway.store.database, state.login, new)
    account = accounts.find_account(gateway.store.database, state.login)
    login_audit.record_account_change(request, gateway, account, "password-change")
    return continue_login(request, gateway, state)


@router.post("/login/enrol")
def submit_enrolment(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Take the first code of a second factor that the account has to have."""
    language = page_language(request)
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None or _find_missing_step(gateway, state) != "enrol":
        return render_stopped_page(language, "stale")
    codes = factors.confirm_totp(
        gateway.store.database,
        state.login,
        state.secret,
        form.get("code", ""),
        gateway.form_secret,
        gateway.clock(),
    )
    if codes is None:
        problem = login_pages.refusal_text(language, "wrong_code", 0)
        return login_pages.render_enrol_page(gateway, state, language, error=problem)
    account = accounts.find_account(gateway.store.database, state.login)
    login_audit.record_account_change(request, gateway, account, "totp-set")
    proved = state.proved(state.login, gateway.clock(), "otp")
    return login_pages.render_recovery_page(gateway, proved, language, codes)


@router.post("/login/on")
def submit_continue(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Go on after a page that only told something."""
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login:
        return render_stopped_page(page_language(request), "stale")
    return continue_login(request, gateway, state)


@router.post("/login/account")
def submit_account_choice(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Go on as the account that the person chose of theirs."""
    state = _unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login:
        return render_stopped_page(page_language(request), "stale")
    wanted = form.get("account", "")
    if wanted not in {account.login for account in _list_selectable_accounts(gateway, state)}:
        return render_stopped_page(page_language(request), "stale")
    return continue_login(request, gateway, replace(state, login=wanted, chosen=True))


def continue_login(request: Request, gateway: Gateway, state: LoginState) -> Response:
    """Show what is still needed after somebody proved something; else begin the session."""
    page = _render_next_page(gateway, state, page_language(request))
    if page is not None:
        return page
    return _complete_login(request, gateway, state)


def _render_next_page(gateway: Gateway, state: LoginState, language: str) -> Response | None:
    if not state.login:
        return login_pages.render_login_page(gateway, state, language)
    missing_step = _find_missing_step(gateway, state)
    if missing_step == "code":
        return login_pages.render_code_page(gateway, state, language)
    if missing_step == "password":
        return login_pages.render_password_page(gateway, state, language)
    if missing_step == "enrol":
        return login_pages.render_enrol_page(gateway, state, language)
    if missing_step == "choose":
        return login_pages.render_account_choice(
            gateway, state, language, _list_selectable_accounts(gateway, state)
        )
    return None


def _find_missing_step(gateway: Gateway, state: LoginState) -> str:
    account = accounts.find_account(gateway.store.database, state.login)
    if not state.strong:
        with gateway.store.read_transaction() as connection:
            enrolled = factors.read_factors(connection, state.login)
            must_change = "pwd" in state.methods and accounts.must_change_password(
                connection, state.login
            )
        if must_change and not enrolled.is_enrolled:
            return "password"
        if enrolled.is_enrolled:
            return "code"
        if factors.must_enrol_factor(account, enrolled):
            return "enrol"
    return (
        "choose" if not state.chosen and len(_list_selectable_accounts(gateway, state)) > 1 else ""
    )


def _list_selectable_accounts(gateway: Gateway, state: LoginState) -> list[Account]:
    account = accounts.find_account(gateway.store.database, state.login)
    with gateway.store.read_transaction() as connection:
        accounts_of_person = accounts.find_accounts_of_person(connection, account)
        eid_accounts = accounts.find_accounts_by_eid(connection, state.eid) if state.eid else []
    known_logins = {account.login for account in accounts_of_person}
    return [
        *accounts_of_person,
        *(account for account in eid_accounts if account.login not in known_logins),
    ]


def _complete_login(request: Request, gateway: Gateway, state: LoginState) -> Response:
    account = accounts.find_account(gateway.store.database, state.login)
    previous = browser.find_session(request, gateway)
    now = gateway.clock()
    if previous and previous.login != account.login:
        # Somebody else's: what they opened in this browser closes.
        account_lifecycle.end_session(gateway, previous.login, previous.id)
        previous = None
    with gateway.store.write_transaction() as connection:
        if previous:
            token, session = sessions.rotate_session(connection, previous, state.methods, now)
        else:
            device = browser.describe_device(request)
            token, session = sessions.start_session(
                connection, account.login, device, state.methods, now
            )
    if state.request:
        parameters = authorize_request.unseal_request(gateway, state.request) or {}
        response = _respond_for_session(request, gateway, parameters, session)
    else:
        login_audit.record_account_change(request, gateway, account, "login")
        response = RedirectResponse("/oauth/account", 303, headers={"Cache-Control": "no-store"})
    browser.set_session_cookie(response, gateway, token)
    return response


def _respond_for_session(
    request: Request, gateway: Gateway, parameters: dict[str, str], session: sessions.LoginSession
) -> Response:
    account = accounts.find_account(gateway.store.database, session.login)
    authentication = Authentication(account, session.auth_ms, session.methods, session.id)
    return respond_to_authorize_request(
        gateway, parameters, authentication, str(request.state.request_id), page_language(request)
    )


def _unseal_state(request: Request, gateway: Gateway, sealed: str) -> LoginState | None:
    state = login_state.unseal_state(request, gateway, sealed)
    if state is None or (
        state.request and not authorize_request.unseal_request(gateway, state.request)
    ):
        return None
    try:
        # Disabled while the page was open.
        _ = state.login and accounts.find_account(gateway.store.database, state.login)
    except NotFound:
        return None
    return state
