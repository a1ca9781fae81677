"""Account pages for authentication factors: passkeys, authenticator app (TOTP), password.

Each change needs a recent authentication (`check_recent_form`) and leaves an audit event.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ehr_gateway.accounts import accounts, factors, passkeys, passwords
from ehr_gateway.gateway import GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.login import account_lifecycle, browser, login_pages, login_state
from ehr_gateway.login.account_pages import render_account_page, unseal_nonce
from ehr_gateway.login.signed_in_user import HOME, Form, SignedInUser, check_recent_form

router = APIRouter(prefix="/oauth")


@router.post("/account/passkeys")
def add_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Register the passkey that the browser created."""
    user = check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    nonce = unseal_nonce(user, form.get("nonce", ""))
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
        return render_account_page(user, error="wrong_passkey", field="name")
    user.record("passkey-add")
    return user.redirect_home("passkey_added")


@router.post("/account/passkeys/remove")
def remove_passkey(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Remove a passkey, unless it is the last second factor of an account that needs one."""
    user = check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    with gateway.store.write_transaction() as connection:
        enrolled = factors.read_factors(connection, user.account.login)
        if (
            factors.needs_second_factor(user.account)
            and not enrolled.totp
            and enrolled.passkeys == 1
        ):
            return render_account_page(user, error="factor_needed", field="passkeys")
        passkeys.remove_passkey(connection, user.account.login, form.get("passkey", ""))
    user.record("passkey-remove")
    return user.redirect_home("passkey_removed")


@router.post("/account/totp")
def propose_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Show a new TOTP secret."""
    user = check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    return _render_totp_page(user, factors.propose_totp(user.account.login, gateway.form_secret))


@router.post("/account/totp/confirm")
def confirm_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Enrol the TOTP secret if its first code is right; show the recovery codes once."""
    user = check_recent_form(request, gateway, form)
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
        codes=codes,
        action="",
    )


@router.post("/account/totp/remove")
def remove_totp(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Remove the TOTP secret and recovery codes, unless they are the last needed factor."""
    user = check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    with gateway.store.write_transaction() as connection:
        enrolled = factors.read_factors(connection, user.account.login)
        if factors.needs_second_factor(user.account) and not enrolled.passkeys:
            return render_account_page(user, error="factor_needed", field="totp")
        factors.remove_totp(connection, user.account.login)
    user.record("totp-remove")
    return user.redirect_home("totp_removed")


@router.post("/account/password")
def change_password(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Change the password and end every other session."""
    user = check_recent_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    name, new = user.account.login, form.get("new", "")
    fault = passwords.find_password_fault(new, name)
    if fault:
        return render_account_page(user, error=fault, field="new")
    try:
        accounts.verify_password(
            gateway.store.database,
            name,
            form.get("present", ""),
            gateway.clock(),
            browser.client_network(request),
        )
    except accounts.LoginRefused as refused:
        return render_account_page(
            user, error="password_wrong", field="present", wait=refused.wait_seconds
        )
    accounts.set_password(gateway.store.database, name, new)
    account_lifecycle.end_sessions(gateway, name, besides=user.session.id)
    user.record("password-change")
    return user.redirect_home("password_changed")


def _render_totp_page(user: SignedInUser, sealed: str, *, error: str = "") -> Response:
    action, login_name = f"{HOME}/totp/confirm", user.account.login
    if factors.unseal_totp_proposal(login_name, sealed, user.gateway.form_secret) is None:
        sealed = factors.propose_totp(login_name, user.gateway.form_secret)
    secret_values: dict[str, Any] = login_pages.totp_secret_values(user.gateway, login_name, sealed)
    return pages.render_page(
        "enrol.html",
        user.language,
        status=400 if error else 200,
        error=error,
        error_field="code",
        action=action,
        fields={"csrf": user.csrf(action), "secret": sealed},
        **secret_values,
    )
