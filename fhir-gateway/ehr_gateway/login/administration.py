"""The page on which an administrator makes, disables and enables accounts.

The first password of an account is good for choosing another one alone; a second factor is taken
away from who lost it, never looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import EhrError
from ehr_gateway.accounts import accounts, passwords
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.html import pages
from ehr_gateway.http.body import form_fields
from ehr_gateway.login import account_lifecycle, login, login_pages
from ehr_gateway.login.account_pages import Stay, log_in_first, sent, stay_of
from ehr_gateway.tokens.roles import load_roles
from ehr_privacy.consent import PROFESSIONS

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]
HOME = "/oauth/accounts"
_LOGIN = re.compile(r"^[a-z0-9][a-z0-9.@_-]{1,63}$")
_SHOWN = 50
_TYPED = ("login", "display", "role", "organization", "profession", "patient", "person")


@dataclass(frozen=True)
class Listed:
    """An account as the list shows it."""

    account: Account
    disabled: bool


@router.get("/accounts")
def show(request: Request, gateway: TheGateway) -> Response:
    """Show the accounts whose log-in names begin with what was searched."""
    stay = stay_of(request, gateway)
    if stay is None:
        return log_in_first(request, gateway)
    return _refused(stay) or _page(stay, find=request.query_params.get("find", ""))


@router.post("/accounts")
def create(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Make an account."""
    stay = _administrator(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    fault = make(gateway, _account_of(form), form.get("password", ""))
    if fault:
        why = pages.load_texts()[fault][stay.language]
        error = pages.load_texts()["people_wrong"][stay.language].format(why=why)
        return _page(stay, error=error, typed=form)
    stay.record("account-create")
    return _page(stay, told="people_created", find=form.get("login", ""))


@router.post("/accounts/disable")
def disable(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Disable an account; what it has open ends at once."""
    stay = _administrator(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    if form.get("login") != stay.account.login:
        account_lifecycle.disable(gateway, form.get("login", ""))
        stay.record("account-disable")
    return _page(stay, told="people_was_disabled", find=form.get("login", ""))


@router.post("/accounts/enable")
def enable(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Enable an account."""
    stay = _administrator(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    account_lifecycle.enable(gateway, form.get("login", ""))
    stay.record("account-enable")
    return _page(stay, told="people_was_enabled", find=form.get("login", ""))


@router.post("/accounts/reset")
def reset(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take every second factor from an account whose holder lost theirs."""
    stay = _administrator(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    if form.get("login") != stay.account.login:
        account_lifecycle.reset(gateway, form.get("login", ""))
        stay.record("account-reset")
    return _page(stay, told="people_was_reset", find=form.get("login", ""))


def make(gateway: Gateway, account: Account, password: str) -> str:
    """Make a new account; return the key of the text that says why not, empty when it was made."""
    if not (_LOGIN.match(account.login) and account.display and _fits(account)):
        return "people_incomplete"
    fault = passwords.find_password_fault(password, account.login) if password else ""
    if fault:
        return fault
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


def _fits(account: Account) -> bool:
    # A patient's account has a patient, a clinician's an organisation and a profession.
    if account.role == "clinician":
        return bool(account.organization and account.profession in PROFESSIONS)
    if account.role == "patient":
        return bool(account.patient) and not account.profession
    return account.role in load_roles() and account.role != "system" and not account.patient


def _account_of(form: dict[str, str]) -> Account:
    def given(name: str) -> str | None:
        return form.get(name, "").strip() or None

    return Account(
        login=form.get("login", "").strip(),
        role=form.get("role", ""),
        display=form.get("display", "").strip()[:120],
        organization=given("organization"),
        profession=given("profession"),
        patient=given("patient"),
        person=given("person"),
    )


def _administrator(request: Request, gateway: Gateway, form: dict[str, str]) -> Stay | Response:
    stay = sent(request, gateway, form)
    if isinstance(stay, Response):
        return stay
    refused = _refused(stay)
    if refused is not None:
        return refused
    return stay if stay.recent else log_in_first(request, gateway)


def _refused(stay: Stay) -> Response | None:
    if stay.account.role == "administrator":
        return None
    return login.stopped(stay.language, "not_yours", 403)


def _page(
    stay: Stay,
    *,
    find: str = "",
    told: str = "",
    error: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    with stay.gateway.store.read_transaction() as connection:
        rows = accounts.search_accounts(connection, find, _SHOWN)
        names = login_pages.organization_names(
            connection, [one.organization for one, _ in rows if one.organization]
        )
    return pages.render_page(
        "accounts.html",
        stay.language,
        status=400 if error else 200,
        here=HOME,
        error=error,
        error_field="login",
        told=pages.load_texts()[told][stay.language] if told else "",
        people=[Listed(one, disabled) for one, disabled in rows],
        names=names,
        roles=[name for name in load_roles() if name != "system"],
        professions=sorted(PROFESSIONS),
        find=find,
        typed={name: (typed or {}).get(name, "") for name in _TYPED},
        csrf=stay.csrf,
        own=stay.account.login,
    )
