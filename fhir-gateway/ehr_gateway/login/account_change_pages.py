"""An administrator's changes of an account: disable, enable, reset factors, unlock, another role.

Each is confirmed on a page of its own with a reason, and is on record with it. A lost second factor
is removed, never looked up.
"""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.accounts import accounts, throttle
from ehr_gateway.accounts.account_changes import AccountChange, insert_change
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.operation_parameters import require_plain_text
from ehr_gateway.login import account_lifecycle, login_audit
from ehr_gateway.login.administration import (
    HOME,
    Form,
    check_administrator_form,
    has_required_fields,
    read_optional_field,
    render_accounts_page,
    role_field_values,
)
from ehr_gateway.login.signed_in_user import SignedInUser

router = APIRouter(prefix="/oauth")
ACTS = ("disable", "enable", "reset", "unlock", "role")


@router.post("/accounts/change/{act}")
def change_account(request: Request, gateway: GatewayDependency, form: Form, act: str) -> Response:
    """Show the confirmation of a change; make the change once a reason is sent with it."""
    user = check_administrator_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    status = _find_account(gateway, form.get("login", ""))
    if act not in ACTS or status is None or status.account.login == user.account.login:
        # Nobody changes themselves, so that an administrator is left.
        return render_accounts_page(user)
    account, typed = status.account, form.get("reason", "").strip()
    if "reason" not in form:
        return _render_confirmation(user, account, act, form)
    try:
        reason = require_plain_text(typed, "reason", gateway.settings.limits.reason_length)
    except Invalid:
        return _render_confirmation(user, account, act, form, error="change_reason_short")
    changed = _account_with_new_role(account, form) if act == "role" else account
    if not has_required_fields(changed):
        return _render_confirmation(user, account, act, form, error="people_incomplete")
    _make_change(gateway, changed, act)
    _record_change(user, account, act, reason)
    return render_accounts_page(user, notice=f"change_{act}_done", search=account.login)


def _find_account(gateway: Gateway, login: str) -> accounts.AccountStatus | None:
    with gateway.store.read_transaction() as connection:
        found = accounts.search_accounts(connection, login, 1) if login else []
    return next((status for status in found if status.account.login == login), None)


def _account_with_new_role(account: Account, form: dict[str, str]) -> Account:
    return replace(
        account,
        role=form.get("role", ""),
        organization=read_optional_field(form, "organization"),
        profession=read_optional_field(form, "profession"),
    )


def _make_change(gateway: Gateway, account: Account, act: str) -> None:
    if act == "disable":
        account_lifecycle.disable_account(gateway, account.login)
    elif act == "enable":
        account_lifecycle.enable_account(gateway, account.login)
    elif act == "reset":
        account_lifecycle.reset_factors(gateway, account.login)
    elif act == "role":
        account_lifecycle.change_role(gateway, account)
    else:
        with gateway.store.write_transaction() as connection:
            for factor in throttle.FACTORS:
                throttle.clear_failures(connection, f"{factor}:{account.login}")


def _record_change(user: SignedInUser, account: Account, act: str, reason: str) -> None:
    """Keep the reason, and put the change on record with a reference to it."""
    gateway = user.gateway
    change = AccountChange(account.login, act, reason, gateway.clock(), user.account.login)
    with gateway.store.write_transaction() as connection:
        change_id = insert_change(connection, change)
        login_audit.record_change_of_other(
            connection, user.request, gateway, user.account, f"account-{act}", f"Basic/{change_id}"
        )


def _render_confirmation(
    user: SignedInUser, account: Account, act: str, form: dict[str, str], error: str = ""
) -> Response:
    typed = {
        "role": form.get("role", account.role),
        "organization": form.get("organization", account.organization or ""),
        "profession": form.get("profession", account.profession or ""),
        "reason": form.get("reason", ""),
    }
    return pages.render_page(
        "account_change.html",
        user.language,
        status=400 if error else 200,
        here=HOME,
        error=pages.load_texts()[error][user.language] if error else "",
        error_field="reason",
        account=account,
        act=act,
        typed=typed,
        **role_field_values(),
        csrf=user.csrf,
    )
