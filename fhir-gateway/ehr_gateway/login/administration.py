"""The accounts page of administrators: find accounts and create them.

What is changed of an account has a page of its own (`account_change_pages`). The first password of
an account only lets its user choose another one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import EhrError
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import accounts, passwords
from ehr_gateway.accounts.account_changes import find_newest_changes
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.accounts.eid_people import find_subjects_by_number
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.login import account_pages, login_pages
from ehr_gateway.login.signed_in_user import (
    SignedInUser,
    check_form,
    find_signed_in_user,
    show_login,
)
from ehr_gateway.search.named_patients import find_patients_by_number
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import PROFESSIONS

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]
HOME = "/oauth/accounts"
_LOGIN = re.compile(r"^[a-z0-9][a-z0-9.@_-]{1,63}$")
_MAX_ROWS = 50
_FORM_FIELDS = ("login", "display", "role", "organization", "profession", "patient", "person")


@router.get("/accounts")
def show_accounts(request: Request, gateway: GatewayDependency) -> Response:
    """Show the first accounts, and the forms to search and to add."""
    user = find_signed_in_user(request, gateway)
    if user is None:
        return show_login(request, gateway)
    return refuse_others(user) or render_accounts_page(user)


@router.post("/accounts")
def create_account_from_form(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Create an account from the form."""
    user = check_administrator_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    error_key = create_account(gateway, _account_from_form(form), form.get("password", ""))
    if error_key:
        why = pages.load_texts()[error_key][user.language]
        error = pages.load_texts()["people_wrong"][user.language].format(why=why)
        return render_accounts_page(user, error=error, typed=form)
    user.record("account-create")
    return render_accounts_page(user, notice="people_created", search=form.get("login", ""))


@router.post("/accounts/search")
def search_accounts(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Show the accounts of a log-in name, a name or an identity card number.

    By POST, since addresses end up in histories and logs.
    """
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    return refuse_others(user) or render_accounts_page(user, search=form.get("find", ""))


def create_account(gateway: Gateway, account: Account, password: str) -> str:
    """Create an account; return the key of a text that says why not, empty on success."""
    if not (_LOGIN.match(account.login) and account.display and has_required_fields(account)):
        return "people_incomplete"
    error_key = passwords.find_password_fault(password, account.login) if password else ""
    if error_key:
        return error_key
    if accounts.is_login_taken(gateway.store.database, account.login):
        return "people_taken"
    try:
        accounts.add_account(gateway.store.database, account, password or None)
    except EhrError:
        return "people_incomplete"
    if password:
        with gateway.store.write_transaction() as connection:
            accounts.require_password_change(connection, account.login)
    return ""


def has_required_fields(account: Account) -> bool:
    """Say whether role, organisation, profession and patient fit together."""
    # A patient account needs a patient, a clinician account an organisation and a profession.
    if account.role == "clinician":
        return bool(account.organization and account.profession in PROFESSIONS)
    if account.role == "patient":
        return bool(account.patient) and not account.profession
    return account.role in load_roles() and account.role != "system" and not account.patient


def role_field_values() -> dict[str, Any]:
    """Return the roles and professions that the fields of an account's role offer."""
    return {
        "roles": [name for name in load_roles() if name != "system"],
        "professions": sorted(PROFESSIONS),
    }


def read_optional_field(form: dict[str, str], name: str) -> str | None:
    """Return what was typed into a field of a form; None if it is empty."""
    return form.get(name, "").strip() or None


def _is_identity_number(text: str) -> bool:
    """Say whether a text is an identity card number by its form, however it is written."""
    identifier = JURISDICTION.person_identifier
    return re.fullmatch(identifier.pattern, identifier.normalize(text)) is not None


def _account_from_form(form: dict[str, str]) -> Account:
    return Account(
        login=form.get("login", "").strip(),
        role=form.get("role", ""),
        display=form.get("display", "").strip()[:120],
        organization=read_optional_field(form, "organization"),
        profession=read_optional_field(form, "profession"),
        patient=read_optional_field(form, "patient"),
        person=read_optional_field(form, "person"),
    )


def check_administrator_form(
    request: Request, gateway: Gateway, form: dict[str, str]
) -> SignedInUser | Response:
    """Return the administrator who sent a form, authenticated recently; else the page to answer."""
    user = check_form(request, gateway, form)
    if isinstance(user, Response):
        return user
    refused = refuse_others(user)
    if refused is not None:
        return refused
    return user if user.is_recent else show_login(request, gateway)


def refuse_others(user: SignedInUser) -> Response | None:
    """Return the refusal of whoever is no administrator, or is suspended."""
    account, gateway = user.account, user.gateway
    if gateway.verifier.is_stale():
        gateway.verifier.reload()
    is_suspended = gateway.revocations.suspensions.is_suspended(
        person=account.person or account.login,
        organization=account.organization,
        client="",
        now_ms=gateway.clock(),
    )
    if account.role == "administrator" and not is_suspended:
        return None
    return login_pages.render_stopped_page(user.language, "not_yours", 403)


def render_accounts_page(
    user: SignedInUser,
    *,
    search: str = "",
    notice: str = "",
    error: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    """Render the accounts that fit a search, and the form of a new one."""
    with user.gateway.store.read_transaction() as connection:
        is_number = _is_identity_number(search)
        statuses = accounts.search_accounts(
            connection,
            search.strip(),
            _MAX_ROWS,
            patients=find_patients_by_number(connection, search) if is_number else (),
            eid_subjects=find_subjects_by_number(connection, search) if is_number else (),
        )
        changes = find_newest_changes(connection, [status.account.login for status in statuses])
        names = login_pages.find_organization_names(
            connection,
            [status.account.organization for status in statuses if status.account.organization],
        )
    return pages.render_page(
        "accounts.html",
        user.language,
        status=400 if error else 200,
        here=HOME,
        error=error,
        error_field="login",
        notice=pages.load_texts()[notice][user.language] if notice else "",
        people=statuses,
        names=names,
        changes=changes,
        when=account_pages.local_time,
        **role_field_values(),
        search=search,
        typed={name: (typed or {}).get(name, "") for name in _FORM_FIELDS},
        csrf=user.csrf,
        own=user.account.login,
    )
