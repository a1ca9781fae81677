"""The front page, log-in and log-out."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import Forbidden, NotFound, Unauthorized, Unavailable
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.oversight.research_projects import parse_projects
from ehr_portal.record.display import person_name
from ehr_portal.record.providers import parse_provider
from ehr_portal.web.forms import VerifiedForm
from ehr_portal.web.oauth_login import PendingLogin, authorization_url, exchange_code
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AnyRequest, LoggedInRequest
from ehr_portal.web.sessions import User

router = APIRouter()
# The name under which the session keeps a log-in that is under way.
_PENDING_LOGIN = "login"


@router.get("/")
def show_front_page(request: AnyRequest, ended: Annotated[str, Query()] = "") -> Response:
    """Show what this is, or send a logged-in person to the first page of their role."""
    if request.user_or_none is None:
        return request.render("front.html", ended=bool(ended))
    home_path = request.portal.navigation.home_path(request.user)
    return request.redirect(home_path) if home_path else request.render("no_pages.html")


@router.get("/login")
def start_login(request: AnyRequest) -> Response:
    """Send the browser to the gateway's log-in, unless another site's page sent it here."""
    if request.http_request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # Who is logged in at the gateway would be logged in here without having asked.
        return request.redirect("/")
    login = PendingLogin.new()
    session = request.portal.sessions.start()
    session.handles[_PENDING_LOGIN] = f"{login.state} {login.verifier}"
    request.portal.sessions.save(session)
    url = authorization_url(request.portal.settings, login, request.language, request.display)
    response = RedirectResponse(url, 303)
    request.set_session_cookie(response, session)
    return response


@router.get("/callback")
async def finish_login(
    request: AnyRequest,
    code: Annotated[str, Query()] = "",
    state: Annotated[str, Query()] = "",
    iss: Annotated[str, Query()] = "",
) -> Response:
    """Exchange the code the gateway sent back, and begin the session under a new id."""
    session = request.session_or_none
    pending = session.handles.get(_PENDING_LOGIN, "") if session else ""
    expected_state, _, verifier = pending.partition(" ")
    if not (
        code and expected_state and hmac.compare_digest(expected_state.encode(), state.encode())
    ):
        raise Unauthorized("This log-in was not begun here.")
    portal = request.portal
    if iss != portal.settings.issuer:
        # The code would go to a server that did not issue it (mix-up attack, RFC 9207 §2.4).
        raise Unauthorized("This log-in was answered by another server.")
    login = PendingLogin(expected_state, verifier)
    user = await exchange_code(portal.client, portal.settings, login, code)
    portal.sessions.end(request.session.id)
    new_session = portal.sessions.start(
        await _with_projects(request, await _with_names(request, user))
    )
    response = RedirectResponse("/", 303)
    request.set_session_cookie(response, new_session)
    return response


@router.post("/logout")
def log_out(request: LoggedInRequest, form: VerifiedForm) -> Response:
    """End the session here and in the browser, then the log-in that it came from."""
    request.portal.sessions.end(request.session.id)
    # Otherwise the next person at this browser would be logged in by it.
    response = RedirectResponse("/oauth/logout", 303)
    request.delete_session_cookie(response)
    return response


async def _with_projects(request: PortalRequest, user: User) -> User:
    # Most clinicians do no research: only who does has a link to it.
    if user.role != "clinician":
        return user
    gateway = GatewayClient(request.portal.client, user.token, request.client_address)
    try:
        projects = parse_projects(await gateway.invoke_by_get("$research-projects"))
    except (Forbidden, NotFound, Unavailable):
        # A gateway without the lake beside it has no research; the log-in goes on.
        return user
    return replace(user, has_projects=bool(projects))


async def _with_names(request: PortalRequest, user: User) -> User:
    # Names for the head of every page, in both scripts where the gateway has them.
    gateway = GatewayClient(request.portal.client, user.token, request.client_address)
    try:
        if user.organization:
            provider = parse_provider(await gateway.read("Organization", user.organization))
            user = replace(user, organization_latin=provider.latin, organization_han=provider.han)
        if user.role == "patient" and user.patient:
            name = person_name(await gateway.read("Patient", user.patient))
            user = replace(user, latin=name.latin, han=name.han)
    except (NotFound, Forbidden):
        return user
    return user
