"""The forms of a log-in: password, one-time code, passkey, new password, enrolment, account choice.

A password is followed by a code where the account has or needs a second factor. A passkey or the
electronic identity (`eid_pages`) is enough by itself. Each form carries the sealed `LoginState`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_gateway.accounts import accounts, factors, passkeys, passwords, throttle
from ehr_gateway.gateway import GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.login import browser, login_audit, login_pages, login_state
from ehr_gateway.login.login_flow import (
    continue_login,
    find_missing_step,
    list_selectable_accounts,
    render_next_page,
    unseal_state,
)
from ehr_gateway.login.login_pages import render_stopped_page
from ehr_gateway.login.login_state import LoginState

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]


@router.get("/login")
def show_current_page(request: Request, gateway: GatewayDependency) -> Response:
    """Show the page of the current step again, for example in another language."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, request.query_params.get("request", ""))
    if state is None:
        return render_stopped_page(language, "stale")
    return render_next_page(gateway, state, language) or render_stopped_page(language, "stale")


@router.post("/login")
def submit_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check name and password."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, form.get("request", ""))
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
    # A new log-in begins: earlier proofs in this state may be of another account.
    fresh = LoginState(state.request, state.browser)
    return continue_login(request, gateway, fresh.with_proof(account.login, gateway.clock(), "pwd"))


@router.post("/login/code")
def submit_code(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check a TOTP or recovery code."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, form.get("request", ""))
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
    return continue_login(request, gateway, state.with_proof(state.login, now, "otp"))


@router.post("/login/passkey")
def submit_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Check a passkey's response."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, form.get("request", ""))
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
    return continue_login(request, gateway, state.with_proof(name, now, "hwk"))


@router.post("/login/password")
def submit_new_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Set the password that the user chose in place of the first one."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login or find_missing_step(gateway, state) != "password":
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
    """Check the first code of a TOTP secret, enrol it and show the recovery codes."""
    language = pages.page_language(request)
    state = unseal_state(request, gateway, form.get("request", ""))
    if state is None or find_missing_step(gateway, state) != "enrol":
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
    proved = state.with_proof(state.login, gateway.clock(), "otp")
    return login_pages.render_recovery_page(gateway, proved, language, codes)


@router.post("/login/on")
def submit_continue(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Continue after a page that only shows something (the recovery codes)."""
    state = unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login:
        return render_stopped_page(pages.page_language(request), "stale")
    return continue_login(request, gateway, state)


@router.post("/login/account")
def submit_account_choice(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Continue with the account that the user chose."""
    state = unseal_state(request, gateway, form.get("request", ""))
    if state is None or not state.login:
        return render_stopped_page(pages.page_language(request), "stale")
    wanted = form.get("account", "")
    if wanted not in {account.login for account in list_selectable_accounts(gateway, state)}:
        return render_stopped_page(pages.page_language(request), "stale")
    return continue_login(request, gateway, replace(state, login=wanted, chosen=True))
