"""Log-in by the electronic identity: there and back again."""

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
    """Send the person to the provider of the electronic identity."""
    language = login_pages.page_language(request)
    state = login_state.unseal_state(request, gateway, request.query_params.get("request", ""))
    if state is None:
        return login_pages.render_stopped_page(language, "stale")
    fresh_state = LoginState(state.request, state.browser).renewed()
    eid_request = _build_request(
        gateway, fresh_state, login_state.seal_state(gateway, fresh_state), language
    )
    return RedirectResponse(
        _provider(request).authorize_address(eid_request), 303, headers=_NO_STORE
    )


@router.get("/eid/callback")
async def handle_callback(request: Request, gateway: GatewayDependency) -> Response:
    """Take the provider's code; whose account it is follows from the id that it stands for."""
    language = login_pages.page_language(request)
    query = request.query_params
    provider = _provider(request)
    sealed = query.get("state", "")
    state = login_state.unseal_state(request, gateway, sealed)
    # Another provider's answer is not taken (mix-up, RFC 9207).
    if state is None or (provider.issuer and query.get("iss") != provider.issuer):
        return login_pages.render_stopped_page(language, "stale")
    now = gateway.clock()
    if not await run_in_threadpool(
        login_state.consume_nonce, gateway.store.database, "eid", state.nonce, now
    ):
        return login_pages.render_stopped_page(language, "stale")
    if query.get("error") == "access_denied":
        # The person turned back: nothing went wrong.
        fresh_state = LoginState(state.request, state.browser)
        return await run_in_threadpool(
            login_pages.render_login_page, gateway, fresh_state, language
        )
    eid_subject = ""
    try:
        if "code" in query and "error" not in query:
            eid_request = _build_request(gateway, state, sealed, language)
            eid_subject = await provider.account_id(query["code"], eid_request)
    except EidRefused:
        eid_subject = ""
    except Unavailable:
        # The person can do nothing about it; the operator can.
        _LOG.error("the electronic identity did not answer")
        eid_subject = ""
    return await run_in_threadpool(_log_in_subject, request, gateway, state, eid_subject, language)


def _log_in_subject(
    request: Request, gateway: Gateway, state: LoginState, eid_subject: str, language: str
) -> Response:
    fresh_state = LoginState(state.request, state.browser)
    if not eid_subject:
        login_audit.record_refused_login(request, gateway, "", "login-eid")
        problem = login_pages.refusal_text(language, "eid_refused", 0)
        return login_pages.render_login_page(
            gateway, fresh_state, language, error=problem, field="eid"
        )
    with gateway.store.read_transaction() as connection:
        accounts_of_subject = accounts.find_accounts_by_eid(connection, eid_subject)
    if not accounts_of_subject:
        problem = login_pages.refusal_text(language, "eid_unknown", 0)
        return login_pages.render_login_page(
            gateway, fresh_state, language, error=problem, field="eid"
        )
    proved_state = replace(fresh_state, eid=eid_subject).proved(
        accounts_of_subject[0].login, gateway.clock(), "eid"
    )
    return login_flow.continue_login(request, gateway, proved_state)


def _build_request(gateway: Gateway, state: LoginState, sealed: str, language: str) -> EidRequest:
    digest = hmac.new(gateway.form_secret.encode(), f"eid {state.nonce}".encode(), hashlib.sha256)
    eid_request = (
        authorize_request.unseal_request(gateway, state.request) if state.request else None
    )
    return EidRequest(
        state=sealed,
        redirect_uri=f"{gateway.settings.base_url}{CALLBACK}",
        # Known to us alone, and another for each log-in: nothing need be kept meanwhile.
        verifier=base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode(),
        language=language,
        # Before a change of how one logs in too: the account's own pages ask for nothing else.
        force_login=eid_request is None
        or eid_request.get("prompt") == "login"
        or bool(eid_request.get("max_age")),
    )


def _provider(request: Request) -> EidProvider:
    provider: EidProvider = request.app.state.eid
    return provider
