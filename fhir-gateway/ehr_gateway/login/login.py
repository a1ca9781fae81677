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
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.body import form_fields
from ehr_gateway.login import account_lifecycle, browser, login_audit, login_pages, login_state
from ehr_gateway.login.login_pages import language_of, stopped
from ehr_gateway.login.login_state import Step
from ehr_gateway.oauth import authorize_request
from ehr_gateway.oauth.authorization_response import Authentication, authorized

__all__ = ["begin", "go_on", "language_of", "router", "start", "stopped"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]


def begin(request: Request, gateway: Gateway, sealed: str) -> Response:
    """Answer a sealed authorize request that was checked a moment ago: by the session, or pages.

    `prompt` and `max_age` are honoured as OpenID Connect Core §3.1.2.1 says.
    """
    asked = authorize_request.opened(gateway, sealed) or {}
    prompts = asked.get("prompt", "").split()
    session = browser.session_of(request, gateway)
    if session and not {"login", "select_account"} & set(prompts):
        age, most = gateway.clock() - session.auth_ms, asked.get("max_age", "")
        if not most.isdigit() or age <= int(most) * 1000:
            return _by_session(request, gateway, asked, session)
    if "none" in prompts:
        return authorize_request.refuse(gateway, asked, "login_required")
    return start(request, gateway, sealed, asked.get("ui_locales", ""))


def start(request: Request, gateway: Gateway, sealed: str, locales: str = "") -> Response:
    """Show the ways to log in; the browser gets its mark when it has none."""
    mark = browser.mark_of(request, gateway)
    value = "" if mark else browser.new_mark()
    step = Step(sealed, mark or browser.mark(value))
    hint = login_pages.hint_of(gateway, step)
    response = login_pages.login_page(gateway, step, language_of(request, locales), login=hint)
    if value:
        browser.keep_mark(response, gateway, value)
    return response


@router.get("/login")
def login_page(request: Request, gateway: TheGateway) -> Response:
    """Show again where the log-in stands, as in another language."""
    language = language_of(request)
    step = _opened(request, gateway, request.query_params.get("request", ""))
    if step is None:
        return stopped(language, "stale")
    return _page_for(gateway, step, language) or stopped(language, "stale")


@router.post("/login")
def login(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Check a password."""
    language = language_of(request)
    step = _opened(request, gateway, form.get("request", ""))
    if step is None:
        return stopped(language, "stale")
    name = form.get("login", "").strip()
    try:
        account = accounts.verify_password(
            gateway.store.database,
            name,
            form.get("password", ""),
            gateway.clock(),
            browser.address_of(request),
        )
    except accounts.LoginRefused as refused:
        if not refused.wait_seconds:
            login_audit.refused(request, gateway, name, "login")
        problem = login_pages.refusal(language, "wrong_password", refused.wait_seconds)
        return login_pages.login_page(gateway, step, language, error=problem, login=name)
    # What was proved before is forgotten: this is a new beginning.
    fresh = Step(step.request, step.browser)
    return go_on(request, gateway, fresh.proved(account.login, gateway.clock(), "pwd"))


@router.post("/login/code")
def code(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Check the code of an authenticator app, or a recovery code."""
    language = language_of(request)
    step = _opened(request, gateway, form.get("request", ""))
    if step is None or not step.login:
        return stopped(language, "stale")
    name, address = f"code:{step.login}", browser.address_of(request)
    database, now = gateway.store.database, gateway.clock()
    wait = throttle.admit_attempt(database, name, address, now)
    typed = form.get("code", "")
    if wait or not factors.verify_code(database, step.login, typed, gateway.form_secret, now):
        if not wait:
            login_audit.refused(request, gateway, step.login, "login-code")
        problem = login_pages.refusal(language, "wrong_code", wait)
        return login_pages.code_page(gateway, step, language, error=problem)
    with database.write_transaction() as connection:
        throttle.record_success(connection, name, address)
    return go_on(request, gateway, step.proved(step.login, now, "otp"))


@router.post("/login/passkey")
def passkey(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Check a passkey."""
    language = language_of(request)
    step = _opened(request, gateway, form.get("request", ""))
    if step is None:
        return stopped(language, "stale")
    now = gateway.clock()
    name = None
    if login_state.use(gateway.store.database, "passkey", step.nonce, now):
        name = passkeys.verify_passkey(gateway, step.nonce, form.get("credential", ""), now)
    if name is None or (step.login and name != step.login):
        login_audit.refused(request, gateway, step.login, "login-passkey")
        problem = login_pages.refusal(language, "wrong_passkey", 0)
        fresh = Step(step.request, step.browser)
        return login_pages.login_page(gateway, fresh, language, error=problem, field="passkey")
    return go_on(request, gateway, step.proved(name, now, "hwk"))


@router.post("/login/password")
def choose_password(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take the password that a person chooses in place of the one they were given."""
    language = language_of(request)
    step = _opened(request, gateway, form.get("request", ""))
    if step is None or not step.login or _need(gateway, step) != "password":
        return stopped(language, "stale")
    new = form.get("new", "")
    fault = passwords.find_password_fault(new, step.login)
    if not fault and accounts.is_current_password(gateway.store.database, step.login, new):
        fault = "password_given"
    if fault:
        problem = login_pages.refusal(language, fault, 0)
        return login_pages.password_page(gateway, step, language, error=problem)
    accounts.set_password(gateway.store.database, step.login, new)
    account = accounts.find_account(gateway.store.database, step.login)
    login_audit.changed(request, gateway, account, "password-change")
    return go_on(request, gateway, step)


@router.post("/login/enrol")
def enrol(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take the first code of a second factor that the account has to have."""
    language = language_of(request)
    step = _opened(request, gateway, form.get("request", ""))
    if step is None or _need(gateway, step) != "enrol":
        return stopped(language, "stale")
    codes = factors.confirm_totp(
        gateway.store.database,
        step.login,
        step.secret,
        form.get("code", ""),
        gateway.form_secret,
        gateway.clock(),
    )
    if codes is None:
        problem = login_pages.refusal(language, "wrong_code", 0)
        return login_pages.enrol_page(gateway, step, language, error=problem)
    account = accounts.find_account(gateway.store.database, step.login)
    login_audit.changed(request, gateway, account, "totp-set")
    proved = step.proved(step.login, gateway.clock(), "otp")
    return login_pages.recovery_page(gateway, proved, language, codes)


@router.post("/login/on")
def on(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Go on after a page that only told something."""
    step = _opened(request, gateway, form.get("request", ""))
    if step is None or not step.login:
        return stopped(language_of(request), "stale")
    return go_on(request, gateway, step)


@router.post("/login/account")
def choose(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Go on as the account that the person chose of theirs."""
    step = _opened(request, gateway, form.get("request", ""))
    if step is None or not step.login:
        return stopped(language_of(request), "stale")
    wanted = form.get("account", "")
    if wanted not in {one.login for one in _choices(gateway, step)}:
        return stopped(language_of(request), "stale")
    return go_on(request, gateway, replace(step, login=wanted, chosen=True))


def go_on(request: Request, gateway: Gateway, step: Step) -> Response:
    """Show what is still needed after somebody proved something; else begin the session."""
    page = _page_for(gateway, step, language_of(request))
    if page is not None:
        return page
    return _finish(request, gateway, step)


def _page_for(gateway: Gateway, step: Step, language: str) -> Response | None:
    if not step.login:
        return login_pages.login_page(gateway, step, language)
    need = _need(gateway, step)
    if need == "code":
        return login_pages.code_page(gateway, step, language)
    if need == "password":
        return login_pages.password_page(gateway, step, language)
    if need == "enrol":
        return login_pages.enrol_page(gateway, step, language)
    if need == "choose":
        return login_pages.choose_page(gateway, step, language, _choices(gateway, step))
    return None


def _need(gateway: Gateway, step: Step) -> str:
    account = accounts.find_account(gateway.store.database, step.login)
    if not step.strong:
        with gateway.store.read_transaction() as connection:
            has = factors.read_factors(connection, step.login)
            given = "pwd" in step.methods and accounts.must_change_password(connection, step.login)
        if given and not has.is_enrolled:
            return "password"
        if has.is_enrolled:
            return "code"
        if factors.must_enrol_factor(account, has):
            return "enrol"
    return "choose" if not step.chosen and len(_choices(gateway, step)) > 1 else ""


def _choices(gateway: Gateway, step: Step) -> list[Account]:
    account = accounts.find_account(gateway.store.database, step.login)
    with gateway.store.read_transaction() as connection:
        found = accounts.find_accounts_of_person(connection, account)
        by_eid = accounts.find_accounts_by_eid(connection, step.eid) if step.eid else []
    known = {one.login for one in found}
    return [*found, *(one for one in by_eid if one.login not in known)]


def _finish(request: Request, gateway: Gateway, step: Step) -> Response:
    account = accounts.find_account(gateway.store.database, step.login)
    before = browser.session_of(request, gateway)
    now = gateway.clock()
    if before and before.login != account.login:
        # Somebody else's: what they opened in this browser closes.
        account_lifecycle.end_session(gateway, before.login, before.id)
        before = None
    with gateway.store.write_transaction() as connection:
        if before:
            token, session = sessions.rotate_session(connection, before, step.methods, now)
        else:
            device = browser.device_of(request)
            token, session = sessions.start_session(
                connection, account.login, device, step.methods, now
            )
    if step.request:
        asked = authorize_request.opened(gateway, step.request) or {}
        response = _by_session(request, gateway, asked, session)
    else:
        login_audit.changed(request, gateway, account, "login")
        response = RedirectResponse("/oauth/account", 303, headers={"Cache-Control": "no-store"})
    browser.keep_session(response, gateway, token)
    return response


def _by_session(
    request: Request, gateway: Gateway, asked: dict[str, str], session: sessions.LoginSession
) -> Response:
    account = accounts.find_account(gateway.store.database, session.login)
    who = Authentication(account, session.auth_ms, session.methods, session.id)
    return authorized(gateway, asked, who, str(request.state.request_id), language_of(request))


def _opened(request: Request, gateway: Gateway, sealed: str) -> Step | None:
    step = login_state.opened(request, gateway, sealed)
    if step is None or (step.request and not authorize_request.opened(gateway, step.request)):
        return None
    try:
        # Disabled while the page was open.
        _ = step.login and accounts.find_account(gateway.store.database, step.login)
    except NotFound:
        return None
    return step
