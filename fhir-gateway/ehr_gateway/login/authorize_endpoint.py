"""`/oauth/authorize`: a client asks for a person's permission (RFC 6749 §4.1, RFC 7636).

The request is checked here; then the log-in pages take over (`login.begin`), and hand the person
who logged in to `authorized`.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import QueryParams

from ehr_fhir.errors import Invalid
from ehr_gateway.gateway import Gateway, TheGateway
from ehr_gateway.http.body import form_pairs
from ehr_gateway.login import login
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorize_request import refuse, seal
from ehr_gateway.tokens.scope_grants import narrow_scopes

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Pairs = Annotated[list[tuple[str, str]], Depends(form_pairs)]

_CHALLENGE = re.compile(r"^[A-Za-z0-9_-]{43}$")
_AGE = re.compile(r"[0-9]{0,9}")
_CARRIED = ("scope", "state", "nonce", "launch", "ui_locales", "prompt", "max_age", "login_hint")


@router.get("/authorize")
def authorize(request: Request, gateway: TheGateway) -> Response:
    """Check what the client asks, then show the ways to log in."""
    return _begin(request, gateway, request.query_params)


@router.post("/authorize")
def authorize_by_form(request: Request, gateway: TheGateway, pairs: Pairs) -> Response:
    """Do the same for a request sent as a form (SMART's `authorize-post`)."""
    return _begin(request, gateway, QueryParams(pairs))


def _begin(request: Request, gateway: Gateway, asked: QueryParams) -> Response:
    client = _client_of(gateway, asked)
    if client is None:
        language = login.language_of(request, asked.get("ui_locales", ""))
        return login.stopped(language, "client_wrong")
    carried = {
        "client": client.id,
        "name": client.name,
        "redirect": asked["redirect_uri"],
        "challenge": asked.get("code_challenge", ""),
        **{name: asked.get(name, "") for name in _CARRIED},
    }
    problem = _problem(asked, gateway)
    if problem is not None:
        return refuse(gateway, carried, *problem)
    return login.begin(request, gateway, seal(gateway, carried))


def _client_of(gateway: Gateway, asked: QueryParams) -> clients.Client | None:
    # Until client and address are known to belong together, nothing may be sent to that address.
    if any(len(asked.getlist(name)) != 1 for name in ("client_id", "redirect_uri")):
        return None
    with gateway.store.read_transaction() as connection:
        client = clients.find_in(connection, asked["client_id"])
    base_url = gateway.settings.base_url
    known = client is not None and clients.accepts_redirect(client, asked["redirect_uri"], base_url)
    return client if known else None


def _problem(asked: QueryParams, gateway: Gateway) -> tuple[str, str] | None:
    names = [name for name, _ in asked.multi_items()]
    if len(names) != len(set(names)):
        return "invalid_request", "A parameter is there twice."
    if asked.get("response_type") != "code":
        return "unsupported_response_type", ""
    if "request" in asked or "request_uri" in asked:
        return "request_not_supported", ""
    fhir_base = gateway.settings.fhir_base
    if asked.get("aud", fhir_base).removesuffix("/") != fhir_base:
        return "invalid_request", "aud is not the address of this FHIR service."
    if "launch" in asked.get("scope", "").split() and not ("aud" in asked and "launch" in asked):
        return "invalid_request", "A launch needs the parameters launch and aud."
    if not _AGE.fullmatch(asked.get("max_age", "0")):
        return "invalid_request", "max_age is a number of seconds."
    proves = asked.get("code_challenge_method") == "S256"
    if not proves or not _CHALLENGE.match(asked.get("code_challenge", "")):
        return "invalid_request", "PKCE with S256 is required."
    try:
        # What cannot be enforced is refused before anybody logs in for it.
        narrow_scopes(asked.get("scope", ""), ())
    except Invalid as error:
        return "invalid_scope", str(error)
    return None
