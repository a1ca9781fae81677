"""The authorization response after a log-in: approval page, then code or error (RFC 6749 §4.1.2).

A trusted client (the platform's own) gets its code at once. For any other the user sees its name
and the requested scopes, and allows or denies it each time. A carer chooses the patient.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.accounts import accounts, represented_patients, sessions
from ehr_gateway.accounts.accounts import Account, subject_of_account
from ehr_gateway.audit_log import recorder
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form
from ehr_gateway.oauth import approval_page, authorization_codes, clients, launch
from ehr_gateway.oauth.allowed_scopes import find_granted_scopes
from ehr_gateway.oauth.authorize_request import (
    redirect_to_client,
    redirect_with_error,
    seal_request,
    unseal_request,
)
from ehr_gateway.oauth.grant_context import GrantContext
from ehr_gateway.tokens.roles import load_roles

__all__ = ["Authentication", "respond_to_authorize_request", "router"]

router = APIRouter(prefix="/oauth")
Form = Annotated[dict[str, str], Depends(read_form)]
_PURPOSE = "approval page"
_NO_PATIENT_CHOSEN = (
    "No record is open. Start the app from a patient's record: choosing a patient here is not"
    " offered to this role."
)
_NOT_FOR_ROLE = "This app is not offered to people of this role."


@dataclass(frozen=True)
class Authentication:
    """An authentication: who, when (auth_time) and by which methods (amr, RFC 8176)."""

    account: Account
    at_ms: int
    methods: tuple[str, ...] = ()
    # The id of the log-in session (never its cookie). Tokens issued from it end with it.
    session: str = ""


@dataclass(frozen=True)
class _PendingAuthorization:
    """A client's authorize request, for one user who is logged in."""

    gateway: Gateway
    parameters: dict[str, str]
    client: clients.Client
    authentication: Authentication
    request_id: str

    @property
    def account(self) -> Account:
        return self.authentication.account

    def has_scope(self, *words: str) -> bool:
        return any(word in words for word in self.parameters["scope"].split())


def respond_to_authorize_request(
    gateway: Gateway,
    parameters: dict[str, str],
    authentication: Authentication,
    request_id: str,
    language: str = "en",
) -> Response:
    """Answer the authorize request of a user who is logged in.

    Redirects to the client with a code or an error, or shows the approval page.
    """
    pending = _load_pending(gateway, parameters, authentication, request_id)
    if pending is None:
        return redirect_with_error(gateway, parameters, "unauthorized_client")
    if not pending.client.may_be_used_by(pending.account.role):
        return redirect_with_error(gateway, parameters, "access_denied", _NOT_FOR_ROLE)
    context = _build_context(pending)
    if context is None:
        return redirect_with_error(
            gateway, parameters, "access_denied", "The launch is over or another person's."
        )
    patients: tuple[represented_patients.RepresentedPatient, ...] = ()
    if context.patient is None and _needs_patient(pending):
        if pending.account.role != "carer":
            return redirect_with_error(gateway, parameters, "access_denied", _NO_PATIENT_CHOSEN)
        patients = represented_patients.list_patients_of_carer(gateway, pending.account)
        if not patients:
            return redirect_with_error(
                gateway, parameters, "access_denied", "Nobody's record is open to this carer."
            )
    if pending.client.trusted and not patients:
        return _issue_code(pending, context)
    if "none" in parameters.get("prompt", "").split():
        return redirect_with_error(gateway, parameters, "consent_required")
    return _render_approval(pending, context, patients, language)


@router.get("/approve")
def show_approval_page(request: Request, gateway: GatewayDependency) -> Response:
    """Show the approval page again, for example in another language."""
    language = pages.page_language(request)
    pending = _unseal_pending(gateway, request.query_params.get("request", ""), request)
    if pending is None:
        return approval_page.render_stale_page(language)
    return respond_to_authorize_request(
        gateway, pending.parameters, pending.authentication, pending.request_id, language
    )


@router.post("/approve")
def approve(request: Request, gateway: GatewayDependency, form: Form) -> Response:
    """Handle the user's decision on the approval page."""
    pending = _unseal_pending(gateway, form.get("request", ""), request)
    if pending is None:
        return approval_page.render_stale_page(pages.page_language(request))
    if form.get("decision") != "allow":
        return redirect_with_error(
            gateway, pending.parameters, "access_denied", "The person did not allow it."
        )
    if not pending.client.may_be_used_by(pending.account.role):
        return redirect_with_error(gateway, pending.parameters, "access_denied", _NOT_FOR_ROLE)
    context = _build_context(pending)
    if context is None:
        return redirect_with_error(
            gateway, pending.parameters, "access_denied", "The launch is over."
        )
    if context.patient is None and _needs_patient(pending):
        # Checked against whom the carer may represent now, not against what the page offered.
        chosen = form.get("patient", "")
        if chosen not in {
            patient.patient
            for patient in represented_patients.list_patients_of_carer(gateway, pending.account)
        }:
            return respond_to_authorize_request(
                gateway,
                pending.parameters,
                pending.authentication,
                pending.request_id,
                pages.page_language(request),
            )
        context = replace(context, patient=chosen)
    return _issue_code(pending, context)


def _load_pending(
    gateway: Gateway, parameters: dict[str, str], authentication: Authentication, request_id: str
) -> _PendingAuthorization | None:
    with gateway.store.read_transaction() as connection:
        client = clients.find_client_on(connection, parameters["client"])
    return (
        None
        if client is None or not client.is_approved
        else _PendingAuthorization(gateway, parameters, client, authentication, request_id)
    )


def _unseal_pending(
    gateway: Gateway, sealed: str, request: Request
) -> _PendingAuthorization | None:
    values = unseal_request(gateway, sealed, _PURPOSE)
    if values is None:
        return None
    try:
        account = accounts.find_account(gateway.store, values["login"])
    except NotFound:
        return None
    if session := values["session"]:
        # After a log-out nobody may approve in the user's name.
        with gateway.store.read_transaction() as connection:
            if not sessions.is_session_in_force(connection, session):
                return None
    methods = tuple(values["methods"].split())
    authentication = Authentication(account, int(values["at_ms"]), methods, values["session"])
    return _load_pending(
        gateway, json.loads(values["asked"]), authentication, str(request.state.request_id)
    )


def _build_context(pending: _PendingAuthorization) -> GrantContext | None:
    """Return the context to store with the code; None if its EHR launch is not valid."""
    base = GrantContext(
        auth_time_ms=pending.authentication.at_ms,
        methods=pending.authentication.methods,
        session=pending.authentication.session,
        nonce=pending.parameters.get("nonce", ""),
        patient=pending.account.patient,
    )
    if not pending.has_scope("launch"):
        return base
    with pending.gateway.store.read_transaction() as connection:
        launched = launch.find_launch(
            connection,
            pending.parameters.get("launch", ""),
            pending.account.login,
            pending.client.id,
            pending.gateway.clock(),
        )
    if launched is None:
        return None
    return replace(
        base,
        patient=launched.context.patient,
        encounter=launched.context.encounter,
        need_patient_banner=launched.context.need_patient_banner,
        intent=launched.context.intent,
        fhir_context=launched.context.fhir_context,
    )


def _needs_patient(pending: _PendingAuthorization) -> bool:
    if pending.has_scope("launch/patient"):
        return True
    is_carer = pending.account.role == "carer" and not pending.client.trusted
    return is_carer and any(
        word.startswith("patient/") for word in pending.parameters["scope"].split()
    )


def _render_approval(
    pending: _PendingAuthorization,
    context: GrantContext,
    patients: tuple[represented_patients.RepresentedPatient, ...],
    language: str,
) -> Response:
    # Show the scopes as they would be granted: with any patient of the choice as context.
    patient = context.patient or (patients[0].patient if patients else None)
    try:
        scope = find_granted_scopes(
            pending.client, pending.account, pending.parameters["scope"], patient, context.encounter
        )
    except Invalid as error:
        return redirect_with_error(pending.gateway, pending.parameters, "invalid_scope", str(error))
    sealed = seal_request(
        pending.gateway,
        {
            "asked": json.dumps(pending.parameters),
            "login": pending.account.login,
            "at_ms": str(pending.authentication.at_ms),
            "methods": " ".join(pending.authentication.methods),
            "session": pending.authentication.session,
        },
        _PURPOSE,
    )
    return approval_page.render_approval_page(
        language,
        sealed,
        pending.parameters,
        pending.account,
        scope,
        patients,
        pending.gateway.settings,
    )


def _issue_code(pending: _PendingAuthorization, context: GrantContext) -> Response:
    gateway, parameters, account = pending.gateway, pending.parameters, pending.account
    now = gateway.clock()
    try:
        scope = find_granted_scopes(
            pending.client, account, parameters["scope"], context.patient, context.encounter
        )
    except Invalid as error:
        return redirect_with_error(gateway, parameters, "invalid_scope", str(error))
    audit_context = recorder.AuditContext(
        subject_of_account(account, parameters["client"]),
        load_roles()[account.role].purpose,
        now,
        pending.request_id,
        "login",
    )
    with gateway.store.write_transaction() as connection:
        launched = pending.has_scope("launch")
        if launched and not launch.consume_launch(
            connection, parameters.get("launch", ""), account.login, pending.client.id, now
        ):
            return redirect_with_error(gateway, parameters, "access_denied", "The launch is over.")
        recorder.record_rows(connection, recorder.build_event_rows(audit_context, context.patient))
    grant = authorization_codes.Grant(
        parameters["client"], account.login, parameters["redirect"], parameters["challenge"], scope,
        context=context,
    )  # fmt: skip
    return redirect_to_client(
        gateway, parameters, {"code": authorization_codes.issue_code(gateway.store, grant, now)}
    )
