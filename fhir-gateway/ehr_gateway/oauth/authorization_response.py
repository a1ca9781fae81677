"""What follows a log-in: is the app allowed, for whose record, and then the code (RFC 6749 §4.1.2).

A program of the platform's own is answered at once. Any other is named to the person, with what it
asks for, and the person allows or denies it each time. A carer says whose record it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.accounts import accounts, people, sessions
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log import recorder
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.body import form_fields
from ehr_gateway.oauth import approval_page, authorization_codes, clients, launch
from ehr_gateway.oauth.allowed_scopes import permitted
from ehr_gateway.oauth.authorize_request import back, opened, refuse, seal
from ehr_gateway.oauth.grant_context import Context
from ehr_gateway.oauth.offline_tokens import subject_of
from ehr_gateway.tokens.roles import load_roles

__all__ = ["Authentication", "authorized", "router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(form_fields)]
_PURPOSE = "approval page"
_NO_PATIENT = (
    "No record is open. Start the app from a patient's record: choosing a patient here is not"
    " offered to this role."
)


@dataclass(frozen=True)
class Authentication:
    """Who logged in, when and how (OpenID Connect's auth_time and amr, RFC 8176)."""

    account: Account
    at_ms: int
    methods: tuple[str, ...] = ()
    # The id of the log-in session (never its cookie): what is issued from it ends with it.
    session: str = ""


@dataclass(frozen=True)
class _Case:
    """One request of one client, for one person who is logged in."""

    gateway: Gateway
    asked: dict[str, str]
    client: clients.Client
    who: Authentication
    request_id: str

    @property
    def account(self) -> Account:
        return self.who.account

    def asks_for(self, *words: str) -> bool:
        return any(word in words for word in self.asked["scope"].split())


def authorized(
    gateway: Gateway,
    asked: dict[str, str],
    who: Authentication,
    request_id: str,
    language: str = "en",
) -> Response:
    """Answer the authorize request of somebody who is logged in.

    With a code, with a page that asks the person, or with an error for the client.
    """
    case = _case(gateway, asked, who, request_id)
    if case is None:
        return refuse(gateway, asked, "unauthorized_client")
    context = _context(case)
    if context is None:
        return refuse(gateway, asked, "access_denied", "The launch is over or another person's.")
    choice: tuple[people.RepresentedPatient, ...] = ()
    if context.patient is None and _needs_patient(case):
        if case.account.role != "carer":
            return refuse(gateway, asked, "access_denied", _NO_PATIENT)
        choice = people.list_patients_of_carer(gateway, case.account)
        if not choice:
            return refuse(gateway, asked, "access_denied", "Nobody's record is open to this carer.")
    if case.client.trusted and not choice:
        return _code(case, context)
    if "none" in asked.get("prompt", "").split():
        return refuse(gateway, asked, "consent_required")
    return _ask(case, context, choice, language)


@router.get("/approve")
def show_again(request: Request, gateway: TheGateway) -> Response:
    """Show the question again, as in another language."""
    language = approval_page.language_of(request)
    case = _reopened(gateway, request.query_params.get("request", ""), request)
    if case is None:
        return approval_page.stopped(language)
    return authorized(gateway, case.asked, case.who, case.request_id, language)


@router.post("/approve")
def approve(request: Request, gateway: TheGateway, form: Form) -> Response:
    """Take the person's answer."""
    case = _reopened(gateway, form.get("request", ""), request)
    if case is None:
        return approval_page.stopped(approval_page.language_of(request))
    if form.get("decision") != "allow":
        return refuse(gateway, case.asked, "access_denied", "The person did not allow it.")
    context = _context(case)
    if context is None:
        return refuse(gateway, case.asked, "access_denied", "The launch is over.")
    if context.patient is None and _needs_patient(case):
        # Not what the page offered counts but whom the carer may act for now.
        chosen = form.get("patient", "")
        if chosen not in {
            one.patient for one in people.list_patients_of_carer(gateway, case.account)
        }:
            return authorized(
                gateway, case.asked, case.who, case.request_id, approval_page.language_of(request)
            )
        context = replace(context, patient=chosen)
    return _code(case, context)


def _case(
    gateway: Gateway, asked: dict[str, str], who: Authentication, request_id: str
) -> _Case | None:
    with gateway.store.read_transaction() as connection:
        client = clients.find_in(connection, asked["client"])
    return None if client is None else _Case(gateway, asked, client, who, request_id)


def _reopened(gateway: Gateway, sealed: str, request: Request) -> _Case | None:
    values = opened(gateway, sealed, _PURPOSE)
    if values is None:
        return None
    try:
        account = accounts.find_account(gateway.store, values["login"])
    except NotFound:
        return None
    if session := values["session"]:
        # Who logged out meanwhile has nobody approve in his name.
        with gateway.store.read_transaction() as connection:
            if not sessions.is_session_in_force(connection, session):
                return None
    methods = tuple(values["methods"].split())
    who = Authentication(account, int(values["at_ms"]), methods, values["session"])
    return _case(gateway, json.loads(values["asked"]), who, str(request.state.request_id))


def _context(case: _Case) -> Context | None:
    """Return what goes with the code; None when the launch that was named is no good."""
    base = Context(
        auth_time_ms=case.who.at_ms,
        methods=case.who.methods,
        session=case.who.session,
        nonce=case.asked.get("nonce", ""),
        patient=case.account.patient,
    )
    if not case.asks_for("launch"):
        return base
    with case.gateway.store.read_transaction() as connection:
        found = launch.find(
            connection,
            case.asked.get("launch", ""),
            case.account.login,
            case.client.id,
            case.gateway.clock(),
        )
    if found is None:
        return None
    return replace(
        base,
        patient=found.context.patient,
        encounter=found.context.encounter,
        need_patient_banner=found.context.need_patient_banner,
        intent=found.context.intent,
    )


def _needs_patient(case: _Case) -> bool:
    if case.asks_for("launch/patient"):
        return True
    carer = case.account.role == "carer" and not case.client.trusted
    return carer and any(word.startswith("patient/") for word in case.asked["scope"].split())


def _ask(
    case: _Case, context: Context, choice: tuple[people.RepresentedPatient, ...], language: str
) -> Response:
    # Shown as they would be granted: with somebody chosen, where a choice is left.
    patient = context.patient or (choice[0].patient if choice else None)
    try:
        scope = permitted(
            case.client, case.account, case.asked["scope"], patient, context.encounter
        )
    except Invalid as error:
        return refuse(case.gateway, case.asked, "invalid_scope", str(error))
    sealed = seal(
        case.gateway,
        {
            "asked": json.dumps(case.asked),
            "login": case.account.login,
            "at_ms": str(case.who.at_ms),
            "methods": " ".join(case.who.methods),
            "session": case.who.session,
        },
        _PURPOSE,
    )
    return approval_page.page(
        language, sealed, case.asked, case.account, scope, choice, case.gateway.settings
    )


def _code(case: _Case, context: Context) -> Response:
    gateway, asked, account = case.gateway, case.asked, case.account
    now = gateway.clock()
    try:
        scope = permitted(case.client, account, asked["scope"], context.patient, context.encounter)
    except Invalid as error:
        return refuse(gateway, asked, "invalid_scope", str(error))
    audit_context = recorder.AuditContext(
        subject_of(account, asked["client"]),
        load_roles()[account.role].purpose,
        now,
        case.request_id,
        "login",
    )
    with gateway.store.write_transaction() as connection:
        launched = case.asks_for("launch")
        if launched and not launch.take(
            connection, asked.get("launch", ""), account.login, case.client.id, now
        ):
            return refuse(gateway, asked, "access_denied", "The launch is over.")
        recorder.record(connection, recorder.about(audit_context, context.patient))
    grant = authorization_codes.Grant(
        asked["client"], account.login, asked["redirect"], asked["challenge"], scope,
        context=context,
    )  # fmt: skip
    return back(gateway, asked, {"code": authorization_codes.issue_code(gateway.store, grant, now)})
