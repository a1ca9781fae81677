"""The addresses of CDS Hooks 2.0: which services there are, a call of one, feedback on its cards.

A call is made for a clinician. Their access token is in `fhirAuthorization`, beside a JWT that the
calling client has signed, or is itself the bearer token. A service is told what that clinician may
see now, by the token's scopes and the patient's consent, and the call is on record as a reading of
it.
"""

from __future__ import annotations

from dataclasses import replace

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ehr_fhir.errors import Forbidden, Invalid, NotFound, Unauthorized
from ehr_gateway.audit_log import recorder
from ehr_gateway.cds_hooks.cards import (
    find_visible_records,
    keep_cards,
    keep_outcomes,
    now_of,
    show_card,
)
from ehr_gateway.cds_hooks.hook_request import HookRequest, parse_feedback, parse_hook_request
from ehr_gateway.decision_support import DecisionSupport, HookCall, HookService
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.authentication import RequestContext, authenticate_token, read_bearer_token
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.oauth.client_assertion import authenticate_hook_client, is_client_assertion
from ehr_gateway.oauth.client_standing import require_in_force
from ehr_gateway.oauth.clients import Client

router = APIRouter(prefix="/cds-services")


@router.get("")
async def list_services(gateway: GatewayDependency) -> Response:
    """List the services (discovery); an empty list where there are none."""
    support = gateway.decision_support
    services = () if support is None else await anyio.to_thread.run_sync(support.list_services)
    return JSONResponse({"services": [vars(service) for service in services]})


@router.post("/{service}")
async def call_service(service: str, request: Request, gateway: GatewayDependency) -> Response:
    """Answer with the cards of a service for one patient."""
    support, offered = await _find_service(gateway, service)
    # Before the body is read: it may be large.
    caller = await _authenticate_caller(request, gateway)
    sent = parse_hook_request(await read_fhir_body(request))
    context = await _authenticate_clinician(request, caller, sent)
    audit_context = context.begin_audit("operation", f"cds-services/{service}")
    if context.access.requester.role != "clinician":
        raise Forbidden("Cards are for clinicians.")
    if sent.hook != offered.hook:
        raise Invalid(f"This service answers {offered.hook}.", expression="hook")
    bound = context.access.requester.patient
    if bound not in (None, sent.patient):
        raise Forbidden("The token was given for another patient.")
    language = choose_language("", request.headers.get("accept-language", ""))
    call = HookCall(
        service=service,
        patient=sent.patient,
        encounter=sent.encounter,
        records=(),
        drafts=sent.drafts,
        is_partial=False,
        language=language,
        now=now_of(context.access),
    )
    cards = await anyio.to_thread.run_sync(_answer, context, audit_context, support, call)
    return JSONResponse({"cards": cards})


@router.post("/{service}/feedback")
async def receive_feedback(service: str, request: Request, gateway: GatewayDependency) -> Response:
    """Keep what became of cards; the same may be told again."""
    await _find_service(gateway, service)
    caller = await _authenticate_caller(request, gateway)
    outcomes = parse_feedback(await read_fhir_body(request))
    login: str | None = None
    if isinstance(caller, Client):
        client = caller.id
    else:
        audit_context = caller.begin_audit("operation", f"cds-services/{service}/feedback")
        login, client = caller.caller.subject.login, caller.caller.subject.client
        caller.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    await anyio.to_thread.run_sync(
        lambda: keep_outcomes(gateway, service, outcomes, login=login, client=client)
    )
    return JSONResponse({})


async def _find_service(gateway: Gateway, name: str) -> tuple[DecisionSupport, HookService]:
    support = gateway.decision_support
    services = () if support is None else await anyio.to_thread.run_sync(support.list_services)
    for service in services:
        if support is not None and service.id == name:
            return support, service
    raise NotFound("There is no such service.")


async def _authenticate_caller(request: Request, gateway: Gateway) -> Client | RequestContext:
    """Return the client that signed a request, or the access of the person whose token is sent."""
    bearer = read_bearer_token(request)
    if not is_client_assertion(bearer):
        return await authenticate_token(request, bearer)
    address = f"{gateway.settings.base_url}{request.url.path}"
    client = await anyio.to_thread.run_sync(authenticate_hook_client, gateway, bearer, address)
    await anyio.to_thread.run_sync(require_in_force, gateway, client)
    return client


async def _authenticate_clinician(
    request: Request, caller: Client | RequestContext, sent: HookRequest
) -> RequestContext:
    """Return the clinician's access; a client that signs the call is the one of their token."""
    if not isinstance(caller, Client):
        if sent.token not in ("", read_bearer_token(request)):
            raise Unauthorized("The bearer token and that of `fhirAuthorization` are two.")
        return caller
    if not sent.token:
        raise Unauthorized("Send the clinician's access token as fhirAuthorization.access_token.")
    context = await authenticate_token(request, sent.token)
    if context.caller.subject.client != caller.id:
        raise Unauthorized("The access token was given to another client.")
    return context


def _answer(
    context: RequestContext,
    audit_context: recorder.AuditContext,
    support: DecisionSupport,
    call: HookCall,
) -> list[dict[str, object]]:
    gateway = context.gateway
    searches = support.list_searches(call.service, call.now)
    with gateway.store.read_transaction() as connection:
        visible = find_visible_records(connection, gateway, context.access, call.patient, searches)
        rows = recorder.build_disclosure_rows(connection, audit_context, visible.versions)
    context.add_audit_entry(rows or recorder.build_event_rows(audit_context, patient=None))
    if not visible.versions:
        # As of a patient who is not there.
        return []
    told = replace(call, records=visible.parse(), is_partial=visible.is_partial)
    cards = support.make_cards(told)
    subject = context.caller.subject
    ids = keep_cards(gateway, subject, call.service, call.patient, cards, context.access.now_ms)
    return [show_card(card, identity) for card, identity in zip(cards, ids, strict=True)]
