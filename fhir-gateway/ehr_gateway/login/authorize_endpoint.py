"""OAuth 2 authorization endpoint `/oauth/authorize`, with PKCE (RFC 6749 §4.1, RFC 7636).

The request is validated here and sealed. `login_flow.begin_login` then shows the log-in pages, and
`authorization_response` answers the client for the person who logged in.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import QueryParams

from ehr_fhir.errors import Invalid
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.http.body import read_form_pairs
from ehr_gateway.login import login_flow, login_pages
from ehr_gateway.login.display_pages import keep_display_settings
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorize_request import redirect_with_error, seal_request
from ehr_gateway.tokens.scope_grants import narrow_scopes

__all__ = ["router"]

router = APIRouter(prefix="/oauth")
Pairs = Annotated[list[tuple[str, str]], Depends(read_form_pairs)]

_CHALLENGE = re.compile(r"^[A-Za-z0-9_-]{43}$")
_MAX_AGE = re.compile(r"[0-9]{0,9}")
_SEALED_PARAMETERS = (
    "scope",
    "state",
    "nonce",
    "launch",
    "ui_locales",
    "prompt",
    "max_age",
    "login_hint",
)


@router.get("/authorize")
def authorize(request: Request, gateway: GatewayDependency) -> Response:
    """Validate an authorize request and start the log-in."""
    return _start_authorization(request, gateway, request.query_params)


@router.post("/authorize")
def authorize_by_form(request: Request, gateway: GatewayDependency, pairs: Pairs) -> Response:
    """Validate a request that is sent as a form (SMART's `authorize-post`)."""
    return _start_authorization(request, gateway, QueryParams(pairs))


def _start_authorization(request: Request, gateway: Gateway, parameters: QueryParams) -> Response:
    client = _find_client(gateway, parameters)
    if client is None:
        language = pages.page_language(request, parameters.get("ui_locales", ""))
        return login_pages.render_stopped_page(language, "client_wrong")
    if not client.is_approved:
        # Nobody vouches for it, so nobody is sent to its address.
        language = pages.page_language(request, parameters.get("ui_locales", ""))
        return login_pages.render_stopped_page(language, "client_not_approved", 403)
    sealed_parameters = {
        "client": client.id,
        "name": client.name,
        "redirect": parameters["redirect_uri"],
        "challenge": parameters.get("code_challenge", ""),
        **{name: parameters.get(name, "") for name in _SEALED_PARAMETERS},
    }
    error = _find_error(parameters, gateway)
    if error is not None:
        return redirect_with_error(gateway, sealed_parameters, *error)
    response = login_flow.begin_login(request, gateway, seal_request(gateway, sealed_parameters))
    keep_display_settings(response, request, gateway)
    return response


def _find_client(gateway: Gateway, parameters: QueryParams) -> clients.Client | None:
    # Nothing may be sent to a redirect URI that is not known to be the client's (open redirector).
    if any(len(parameters.getlist(name)) != 1 for name in ("client_id", "redirect_uri")):
        return None
    with gateway.store.read_transaction() as connection:
        client = clients.find_client_on(connection, parameters["client_id"])
    base_url = gateway.settings.base_url
    is_registered = client is not None and clients.accepts_redirect(
        client, parameters["redirect_uri"], base_url
    )
    return client if is_registered else None


def _find_error(parameters: QueryParams, gateway: Gateway) -> tuple[str, str] | None:
    names = [name for name, _ in parameters.multi_items()]
    if len(names) != len(set(names)):
        return "invalid_request", "A parameter is there twice."
    if parameters.get("response_type") != "code":
        return "unsupported_response_type", ""
    if "request" in parameters or "request_uri" in parameters:
        return "request_not_supported", ""
    fhir_base = gateway.settings.fhir_base
    if parameters.get("aud", fhir_base).removesuffix("/") != fhir_base:
        return "invalid_request", "aud is not the address of this FHIR service."
    if "launch" in parameters.get("scope", "").split() and not (
        "aud" in parameters and "launch" in parameters
    ):
        return "invalid_request", "A launch needs the parameters launch and aud."
    if not _MAX_AGE.fullmatch(parameters.get("max_age", "0")):
        return "invalid_request", "max_age is a number of seconds."
    has_s256 = parameters.get("code_challenge_method") == "S256"
    if not has_s256 or not _CHALLENGE.match(parameters.get("code_challenge", "")):
        return "invalid_request", "PKCE with S256 is required."
    try:
        # Refuse a scope that cannot be enforced before the user logs in for it.
        narrow_scopes(parameters.get("scope", ""), ())
    except Invalid as error:
        return "invalid_scope", str(error)
    return None
