"""Log-in by an electronic identity provider: redirect there, and the callback with its code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import Unavailable
from ehr_gateway.accounts import accounts
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.login import login_audit, login_flow, login_pages, login_state
from ehr_gateway.login.eid import EidProvider, EidRefused, EidRequest
from ehr_gateway.login.login_state import LoginState
from ehr_gateway.oauth import authorize_request

_LOG = logging.getLogger(__name__)
router = APIRouter(prefix="/oauth")
CALLBACK = "/oauth/eid/callback"
_NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@router.get("/eid")
def redirect_to_provider(request: Request, gateway: GatewayDependency) -> Response:
    """Redirect to the electronic identity provider."""
    language = pages.page_language(request)
    state = login_state.unseal_state(request, gateway, request.query_params.get("request", ""))
    if state is None:
        return login_pages.render_stopped_page(language, "stale")
    fresh_state = LoginState(state.request, state.browser).with_new_nonce()
    eid_request = _build_request(
        gateway, fresh_state, login_state.seal_state(gateway, fresh_state), language
    )
    return RedirectResponse(
        _provider(request).authorization_url(eid_request), 303, headers=_NO_STORE
    )


@router.get("/eid/callback")
async def handle_callback(request: Request, gateway: GatewayDependency) -> Response:
    """Handle the provider's response: exchange its code, log in the account of the subject."""
    language = pages.page_language(request)
    query = request.query_params
    provider = _provider(request)
    sealed = query.get("state", "")
    state = login_state.unseal_state(request, gateway, sealed)
    # A response of another provider is refused (mix-up attack, RFC 9207).
    if state is None or (provider.issuer and query.get("iss") != provider.issuer):
        return login_pages.render_stopped_page(language, "stale")
    now = gateway.clock()
    if not await run_in_threadpool(
        login_state.consume_nonce, gateway.store.database, "eid", state.nonce, now
    ):
        return login_pages.render_stopped_page(language, "stale")
    # What was proved before the redirect does not count: the log-in begins anew.
    fresh_state = LoginState(state.request, state.browser)
    if query.get("error") == "access_denied":
        # The person cancelled. No error, and no refused log-in on record.
        return await run_in_threadpool(
            login_pages.render_login_page, gateway, fresh_state, language
        )
    if "code" not in query or "error" in query:
        return await run_in_threadpool(_refuse, request, gateway, fresh_state, language)
    eid_request = _build_request(gateway, state, sealed, language)
    try:
        eid_subject = await provider.redeem_code(query["code"], eid_request)
    except EidRefused:
        return await run_in_threadpool(_refuse, request, gateway, fresh_state, language)
    except Unavailable:
        # The person can do nothing about it, so they see the same page; the operator can.
        _LOG.error("the electronic identity did not answer")
        return await run_in_threadpool(_refuse, request, gateway, fresh_state, language)
    return await run_in_threadpool(
        _log_in_subject, request, gateway, fresh_state, eid_subject, language
    )


def _refuse(request: Request, gateway: Gateway, fresh_state: LoginState, language: str) -> Response:
    """Record a refused log-in and show the log-in page with the error."""
    login_audit.record_refused_login(request, gateway, "", "login-eid")
    return _render_error(gateway, fresh_state, language, "eid_refused")


def _log_in_subject(
    request: Request, gateway: Gateway, fresh_state: LoginState, eid_subject: str, language: str
) -> Response:
    with gateway.store.read_transaction() as connection:
        accounts_of_subject = accounts.find_accounts_by_eid(connection, eid_subject)
    if not accounts_of_subject:
        return _render_error(gateway, fresh_state, language, "eid_unknown")
    state = replace(fresh_state, eid=eid_subject).with_proof(
        accounts_of_subject[0].login, gateway.clock(), "eid"
    )
    return login_flow.continue_login(request, gateway, state)


def _render_error(
    gateway: Gateway, fresh_state: LoginState, language: str, text_key: str
) -> Response:
    problem = login_pages.refusal_text(language, text_key, 0)
    return login_pages.render_login_page(gateway, fresh_state, language, error=problem, field="eid")


def _build_request(gateway: Gateway, state: LoginState, sealed: str, language: str) -> EidRequest:
    digest = hmac.new(gateway.form_secret.encode(), f"eid {state.nonce}".encode(), hashlib.sha256)
    parameters = authorize_request.unseal_request(gateway, state.request) if state.request else None
    return EidRequest(
        state=sealed,
        redirect_uri=f"{gateway.settings.base_url}{CALLBACK}",
        # Derived from the nonce with our own key: unknown to others, another for each log-in, and
        # nothing has to be stored until the callback.
        verifier=base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode(),
        language=language,
        # Without an authorize request the log-in is for the account page, which changes factors.
        force_login=parameters is None
        or parameters.get("prompt") == "login"
        or bool(parameters.get("max_age")),
    )


def _provider(request: Request) -> EidProvider:
    provider: EidProvider = request.app.state.eid
    return provider
