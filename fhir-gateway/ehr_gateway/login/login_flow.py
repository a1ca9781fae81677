"""The log-in flow: which page comes next, and the session when nothing is missing.

`begin_login` answers a validated authorize request from an existing session, or shows the log-in
page. Each step (`login_steps`, `eid_pages`) proves something and calls `continue_login`, which
shows the next page or completes the log-in.
"""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import accounts, factors, sessions
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway
from ehr_gateway.html import pages
from ehr_gateway.login import account_lifecycle, browser, login_audit, login_pages, login_state
from ehr_gateway.login.login_state import LoginState
from ehr_gateway.oauth import authorize_request
from ehr_gateway.oauth.authorization_response import Authentication, respond_to_authorize_request

__all__ = [
    "begin_login", "continue_login", "find_missing_step", "list_selectable_accounts",
    "render_next_page", "show_login_page", "unseal_state",
]  # fmt: skip

# "" is: nothing is missing.
MissingStep = Literal["code", "password", "enrol", "choose", ""]


def begin_login(request: Request, gateway: Gateway, sealed: str) -> Response:
    """Answer a validated authorize request from the browser's session, or show the log-in page.

    Honours `prompt` and `max_age` (OpenID Connect Core §3.1.2.1).
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
    """Show the log-in page; set the browser cookie if there is none."""
    browser_id = browser.read_browser_id(request, gateway)
    value = "" if browser_id else browser.generate_browser_cookie()
    state = LoginState(sealed, browser_id or browser.hash_browser_cookie(value))
    login_hint = login_pages.read_login_hint(gateway, state)
    response = login_pages.render_login_page(
        gateway, state, pages.page_language(request, locales), login=login_hint
    )
    if value:
        browser.set_browser_cookie(response, gateway, value)
    return response


def continue_login(request: Request, gateway: Gateway, state: LoginState) -> Response:
    """Show the page of the next step; complete the log-in if no step is missing."""
    page = render_next_page(gateway, state, pages.page_language(request))
    if page is not None:
        return page
    return _complete_login(request, gateway, state)


def render_next_page(gateway: Gateway, state: LoginState, language: str) -> Response | None:
    """Return the page of the next step; None if no step is missing."""
    if not state.login:
        return login_pages.render_login_page(gateway, state, language)
    missing_step = find_missing_step(gateway, state)
    if missing_step == "code":
        return login_pages.render_code_page(gateway, state, language)
    if missing_step == "password":
        return login_pages.render_password_page(gateway, state, language)
    if missing_step == "enrol":
        return login_pages.render_enrol_page(gateway, state, language)
    if missing_step == "choose":
        return login_pages.render_account_choice(
            gateway, state, language, list_selectable_accounts(gateway, state)
        )
    return None


def find_missing_step(gateway: Gateway, state: LoginState) -> MissingStep:
    """Return the step that is missing after what was proved; empty if none is."""
    account = accounts.find_account(gateway.store.database, state.login)
    if not state.is_strong:
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
        "choose" if not state.chosen and len(list_selectable_accounts(gateway, state)) > 1 else ""
    )


def list_selectable_accounts(gateway: Gateway, state: LoginState) -> list[Account]:
    """Return the accounts of the person who authenticated, the current one first."""
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
        # Another user's session in this browser ends, with what was issued from it.
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
        gateway,
        parameters,
        authentication,
        str(request.state.request_id),
        pages.page_language(request),
    )


def unseal_state(request: Request, gateway: Gateway, sealed: str) -> LoginState | None:
    """Return a sealed state if it, its authorize request and its account are still valid."""
    state = login_state.unseal_state(request, gateway, sealed)
    if state is None or (
        state.request and not authorize_request.unseal_request(gateway, state.request)
    ):
        return None
    try:
        # NotFound if the account was disabled while the page was open.
        _ = state.login and accounts.find_account(gateway.store.database, state.login)
    except NotFound:
        return None
    return state
