"""The front page, log-in, log-out and the choice of language."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import Forbidden, NotFound, Unauthorized
from ehr_portal.gateway.client import Gateway
from ehr_portal.i18n import BY_TAG
from ehr_portal.record.display import person_name, provider
from ehr_portal.web.oauth_login import Challenge, authorize_address, redeem
from ehr_portal.web.request import PLACES, YEAR, AnyPage, Form, Page, SignedIn, local_path
from ehr_portal.web.sessions import User

router = APIRouter()


@router.get("/")
def front(page: AnyPage, ended: Annotated[str, Query()] = "") -> Response:
    """Show what this is, or send a logged-in person to where their role starts."""
    user = page.session.user if page.session else None
    if user is None:
        return page.render("front.html", ended=bool(ended))
    if user.role in PLACES:
        return page.go(PLACES[user.role][0][0])
    return page.render("no_pages.html")


@router.get("/login")
def log_in(page: AnyPage) -> Response:
    """Send the browser to the gateway's log-in, unless another site's page sent it here."""
    if page.request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # Who is logged in at the gateway would be logged in here without having asked.
        return page.go("/")
    challenge = Challenge.new()
    session = page.portal.sessions.start()
    session.handles["login"] = f"{challenge.state} {challenge.verifier}"
    page.portal.sessions.save(session)
    address = authorize_address(page.portal.settings, challenge, page.language)
    response = RedirectResponse(address, 303)
    page.set_cookie(response, session)
    return response


@router.get("/callback")
async def come_back(
    page: AnyPage, code: Annotated[str, Query()] = "", state: Annotated[str, Query()] = ""
) -> Response:
    """Take the code the gateway sent back and begin the session under a new id."""
    kept = page.session.handles.get("login", "") if page.session else ""
    wanted, _, verifier = kept.partition(" ")
    if not (code and wanted and hmac.compare_digest(wanted.encode(), state.encode())):
        raise Unauthorized("This log-in was not begun here.")
    user = await redeem(page.portal.client, page.portal.settings, Challenge(wanted, verifier), code)
    page.portal.sessions.end(page.stay.id)
    session = page.portal.sessions.start(await _introduced(page, user))
    response = RedirectResponse("/", 303)
    page.set_cookie(response, session)
    return response


async def _introduced(page: Page, user: User) -> User:
    # Names for the head of every page, in both scripts where the gateway has them.
    gateway = Gateway(page.portal.client, user.token, page.address)
    try:
        if user.organization:
            found = provider(await gateway.read("Organization", user.organization))
            user = replace(user, organization_latin=found.latin, organization_han=found.han)
        if user.role == "patient" and user.patient:
            name = person_name(await gateway.read("Patient", user.patient))
            user = replace(user, latin=name.latin, han=name.han)
    except (NotFound, Forbidden):
        return user
    return user


@router.post("/logout")
def log_out(page: SignedIn, form: Form) -> Response:
    """End the session here and in the browser, then the log-in that it came from."""
    page.portal.sessions.end(page.stay.id)
    # Otherwise the next person at this browser would be logged in by it.
    response = RedirectResponse("/oauth/logout", 303)
    page.forget_cookie(response)
    return response


@router.get("/language/{tag}")
def choose_language(page: AnyPage, tag: str, back: Annotated[str, Query()] = "/") -> Response:
    """Keep the reader's language and go back to the page they were on."""
    response = page.go(local_path(back))
    if tag in BY_TAG:
        response.set_cookie(
            page.portal.language_cookie,
            tag,
            max_age=YEAR,
            path="/",
            httponly=True,
            samesite="lax",
            secure=page.portal.settings.secure,
        )
    return response
