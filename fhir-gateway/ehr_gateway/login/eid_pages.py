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
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.login import login, login_audit, login_pages, login_state
from ehr_gateway.login.eid import EidProvider, EidRefused, EidRequest
from ehr_gateway.login.login_state import Step
from ehr_gateway.oauth import authorize_request

_LOG = logging.getLogger(__name__)
router = APIRouter(prefix="/oauth")
CALLBACK = "/oauth/eid/callback"
_NOWHERE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@router.get("/eid")
def leave(request: Request, gateway: TheGateway) -> Response:
    """Send the person to the provider of the electronic identity."""
    language = login.language_of(request)
    step = login_state.opened(request, gateway, request.query_params.get("request", ""))
    if step is None:
        return login.stopped(language, "stale")
    begun = Step(step.request, step.browser).renewed()
    asked = _asked(gateway, begun, login_state.seal(gateway, begun), language)
    return RedirectResponse(_provider(request).authorize_address(asked), 303, headers=_NOWHERE)


@router.get("/eid/callback")
async def come_back(request: Request, gateway: TheGateway) -> Response:
    """Take the provider's code; whose account it is follows from the id that it stands for."""
    language = login.language_of(request)
    query = request.query_params
    provider = _provider(request)
    sealed = query.get("state", "")
    step = login_state.opened(request, gateway, sealed)
    # Another provider's answer is not taken (mix-up, RFC 9207).
    if step is None or (provider.issuer and query.get("iss") != provider.issuer):
        return login.stopped(language, "stale")
    now = gateway.clock()
    if not await run_in_threadpool(login_state.use, gateway.store.database, "eid", step.nonce, now):
        return login.stopped(language, "stale")
    if query.get("error") == "access_denied":
        # The person turned back: nothing went wrong.
        begun = Step(step.request, step.browser)
        return await run_in_threadpool(login_pages.login_page, gateway, begun, language)
    known_as = ""
    try:
        if "code" in query and "error" not in query:
            asked = _asked(gateway, step, sealed, language)
            known_as = await provider.account_id(query["code"], asked)
    except EidRefused:
        known_as = ""
    except Unavailable:
        # The person can do nothing about it; the operator can.
        _LOG.error("the electronic identity did not answer")
        known_as = ""
    return await run_in_threadpool(_arrived, request, gateway, step, known_as, language)


def _arrived(
    request: Request, gateway: Gateway, step: Step, known_as: str, language: str
) -> Response:
    begun = Step(step.request, step.browser)
    if not known_as:
        login_audit.refused(request, gateway, "", "login-eid")
        problem = login_pages.refusal(language, "eid_refused", 0)
        return login_pages.login_page(gateway, begun, language, error=problem, field="eid")
    with gateway.store.read_transaction() as connection:
        found = accounts.find_accounts_by_eid(connection, known_as)
    if not found:
        problem = login_pages.refusal(language, "eid_unknown", 0)
        return login_pages.login_page(gateway, begun, language, error=problem, field="eid")
    proved = replace(begun, eid=known_as).proved(found[0].login, gateway.clock(), "eid")
    return login.go_on(request, gateway, proved)


def _asked(gateway: Gateway, step: Step, sealed: str, language: str) -> EidRequest:
    digest = hmac.new(gateway.form_secret.encode(), f"eid {step.nonce}".encode(), hashlib.sha256)
    asked = authorize_request.opened(gateway, step.request) if step.request else None
    return EidRequest(
        state=sealed,
        redirect_uri=f"{gateway.settings.base_url}{CALLBACK}",
        # Known to us alone, and another for each log-in: nothing need be kept meanwhile.
        verifier=base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode(),
        language=language,
        # Before a change of how one logs in too: the account's own pages ask for nothing else.
        fresh=asked is None or asked.get("prompt") == "login" or bool(asked.get("max_age")),
    )


def _provider(request: Request) -> EidProvider:
    provider: EidProvider = request.app.state.eid
    return provider
