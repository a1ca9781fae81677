"""The pages of a log-in: what they show. The decisions are in `login_flow`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import orjson
import segno
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ehr_design import static_files
from ehr_fhir.errors import NotFound
from ehr_gateway.accounts import eid_people, factors, passkeys, totp
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.html import pages
from ehr_gateway.http.content_coding import compress_response
from ehr_gateway.login import login_state
from ehr_gateway.login.login_state import LoginState
from ehr_gateway.oauth import authorize_request

router = APIRouter(prefix="/oauth")
ISSUER = "eHR Commons"
# Of the pages' own, beside the files of the shared design.
_SCRIPTS = {"passkey.js": "text/javascript; charset=utf-8"}


@router.get("/static/{name}")
async def serve_static(request: Request, name: str) -> Response:
    """Serve the style sheet and the icons of the shared design, and the one script."""
    media_type = _SCRIPTS.get(name) or static_files.media_type(name)
    if media_type is None:
        raise NotFound("There is no such file.")
    if name in _SCRIPTS:
        content = resources.files("ehr_gateway").joinpath("html/static", name).read_bytes()
    else:
        content = (static_files.FOLDER / name).read_bytes()
    version = request.query_params.get("v", "")
    headers = {
        "Cache-Control": static_files.cache_control(name, version),
        "X-Content-Type-Options": "nosniff",
    }
    # The same for everybody, so it may be compressed; the pages themselves may not.
    return await compress_response(
        request, Response(content, media_type=media_type, headers=headers)
    )


def refusal_text(language: str, key: str, wait_seconds: int) -> str:
    """Return the text of why an attempt failed, or how long to wait if it is throttled."""
    if wait_seconds:
        return pages.load_texts()["wait"][language].format(seconds=wait_seconds)
    return pages.load_texts()[key][language]


def render_stopped_page(language: str, reason: str, status: int = 400) -> Response:
    """Return a page without links that says why a log-in cannot go on."""
    return pages.render_page("stopped.html", language, status=status, reason=reason)


def render_login_page(
    gateway: Gateway,
    state: LoginState,
    language: str,
    *,
    error: str = "",
    login: str = "",
    field: str = "login",
) -> Response:
    """Return the page that offers the ways to log in."""
    parameters = _authorize_parameters(gateway, state)
    simulated = not gateway.settings.eid_authorize_url
    return _render_page(
        "login.html",
        gateway,
        state,
        language,
        error=error,
        field=field,
        client=parameters.get("name", ""),
        login=login,
        eid=not simulated or eid_people.has_enrolments(gateway.store.database),
    )


def read_login_hint(gateway: Gateway, state: LoginState) -> str:
    """Return the log-in name that the client expects (OpenID Connect's login_hint)."""
    return _authorize_parameters(gateway, state).get("login_hint", "")[:64]


def render_code_page(
    gateway: Gateway, state: LoginState, language: str, *, error: str = ""
) -> Response:
    """Return the page that asks for a TOTP code, a recovery code or a passkey."""
    with gateway.store.read_transaction() as connection:
        enrolled = factors.read_factors(connection, state.login)
    return _render_page(
        "code.html",
        gateway,
        state,
        language,
        error=error,
        field="code",
        factors=enrolled,
    )


def render_enrol_page(
    gateway: Gateway, state: LoginState, language: str, *, error: str = ""
) -> Response:
    """Return the page with a new TOTP secret, as QR code and text, that asks for its code."""
    if factors.unseal_totp_proposal(state.login, state.secret, gateway.form_secret) is None:
        state = replace(state, secret=factors.propose_totp(state.login, gateway.form_secret))
    return _render_page(
        "enrol.html",
        gateway,
        state,
        language,
        error=error,
        field="code",
        action="/oauth/login/enrol",
        fields={},
        **totp_secret_values(gateway, state.login, state.secret),
    )


def render_password_page(
    gateway: Gateway, state: LoginState, language: str, *, error: str = ""
) -> Response:
    """Return the page that asks for a new password in place of the first one."""
    return _render_page("password.html", gateway, state, language, error=error, field="new")


def render_recovery_page(
    gateway: Gateway, state: LoginState, language: str, codes: Sequence[str]
) -> Response:
    """Return the page that shows the recovery codes, once."""
    return _render_page(
        "recovery.html", gateway, state, language, codes=codes, action="/oauth/login/on"
    )


def render_account_choice(
    gateway: Gateway, state: LoginState, language: str, choices: Sequence[Account]
) -> Response:
    """Return the page that asks which of their accounts the user logs in to."""
    with gateway.store.read_transaction() as connection:
        names = find_organization_names(
            connection, [account.organization for account in choices if account.organization]
        )
    return _render_page("choose.html", gateway, state, language, choices=choices, names=names)


def totp_secret_values(gateway: Gateway, login: str, sealed: str) -> dict[str, Any]:
    """Return the template values of a proposed TOTP secret: text, URI and QR code."""
    secret = factors.unseal_totp_proposal(login, sealed, gateway.form_secret) or ""
    address = totp.provisioning_uri(secret, login, ISSUER)
    qr_code = segno.make(address, error="m").svg_inline(border=4, omitsize=True)
    spaced = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    return {"secret": spaced, "address": address, "picture": qr_code}


def find_organization_names(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return the names of organisations by id; the id itself where there is no name."""
    names = {}
    for identity in dict.fromkeys(ids):
        row = connection.execute(
            "SELECT body FROM resource WHERE type = 'Organization' AND id = ? AND current = 1"
            " AND deleted = 0",
            (identity,),
        ).fetchone()
        name = orjson.loads(row[0]).get("name") if row else None
        names[identity] = str(name or identity)
    return names


def _render_page(
    template: str,
    gateway: Gateway,
    state: LoginState,
    language: str,
    *,
    error: str = "",
    field: str = "",
    **values: Any,
) -> Response:
    next_state = state.with_new_nonce()
    options = (
        passkeys.build_login_options(gateway, next_state.nonce)
        if passkeys.can_use_passkeys(gateway)
        else ""
    )
    return pages.render_page(
        template,
        language,
        status=401 if error else 200,
        form_target=_authorize_parameters(gateway, state).get("redirect", ""),
        script=bool(options),
        here="/oauth/login",
        request_token=login_state.seal_state(gateway, next_state),
        error=error,
        error_field=field,
        passkey_options=options,
        **values,
    )


def _authorize_parameters(gateway: Gateway, state: LoginState) -> dict[str, str]:
    return (
        authorize_request.unseal_request(gateway, state.request) if state.request else None
    ) or {}
