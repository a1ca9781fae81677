"""The portal's application: pages, style sheet, headers, and what happens when something fails."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache

import httpx
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_design.static_files import FOLDER, cache_control
from ehr_fhir.errors import (
    EhrError,
    Forbidden,
    NotFound,
    TooCostly,
    TooMany,
    Unauthorized,
    http_status,
)
from ehr_portal.i18n import N_
from ehr_portal.pages import load_navigation, load_router
from ehr_portal.record.designations import DesignationCache
from ehr_portal.settings import PortalSettings
from ehr_portal.web.carer_powers import load_carer_powers
from ehr_portal.web.forms import OtherPatientForm
from ehr_portal.web.headers import HEADERS
from ehr_portal.web.live_rows import LiveStreams
from ehr_portal.web.provider_directory import ProviderDirectory
from ehr_portal.web.request import Portal, PortalRequest, portal_request
from ehr_portal.web.roles import AnyRequest
from ehr_portal.web.sessions import SessionStore, SessionsUnwritable
from ehr_portal.web.smart_app_files import SMART_APPS_PATH, SmartAppFiles
from ehr_portal.web.static_files import CompressedStaticFiles
from ehr_portal.web.unread_notices import load_unread_notices

# The longest form has a reason typed in a box of 2,000 characters at most. Chosen.
_MAX_FORM_BYTES = 64 * 1024
# Of every path of ours: ids, names of pages and files, tags of languages. Anything else, such as a
# line break, a question mark that was escaped or "..", would mean something in an address of the
# gateway or in a header. The longest that is served has about 200 characters.
_ADDRESS = re.compile(r"/(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9._~/-]{0,511}")
_LOG = logging.getLogger("ehr_portal")
# Frames of a traceback that are logged.
_LOGGED_FRAMES = 6


def create_portal(gateway: httpx.AsyncClient, settings: PortalSettings) -> FastAPI:
    """Return the portal; `gateway` is a client whose base address is the gateway's."""
    # No redirect to "the same with a slash": it would follow the Host that a client made up.
    app = FastAPI(
        # Addresses and exceptions may hold values of a record, which no telemetry is to see.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        title="eHR Commons", docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    sessions = SessionStore(settings.sessions, settings.idle, settings.absolute, settings.clock)
    streams = LiveStreams(settings.live_pace, settings.probe_changes)
    directory = ProviderDirectory(settings.clock)
    app.state.portal = Portal(gateway, settings, sessions, load_navigation(), streams, directory)
    app.state.designations = DesignationCache(settings.clock)
    app.router.routes.extend(_page_routes())
    static = CompressedStaticFiles(directory=str(FOLDER))
    app.mount("/static", static, name="static")
    for name in ("growth-chart",):
        app.mount(f"{SMART_APPS_PATH}/{name}", SmartAppFiles(name, settings.base_url))
    app.add_middleware(BodySizeLimit)
    app.middleware("http")(_add_headers)
    app.add_exception_handler(EhrError, _render_error)
    app.add_exception_handler(HTTPException, _render_not_found)
    app.add_exception_handler(RequestValidationError, _render_not_found)
    return app


@cache
def _page_routes() -> list[BaseRoute]:
    """Return the routes of all pages, with what each asks of a request first.

    Made once in a process: FastAPI looks into the parameters of every function when the first
    request comes to a router, for 0.2 s, and does it again for each application that includes it.
    """
    router = APIRouter()
    router.include_router(
        load_router(),
        dependencies=[
            Depends(_use_designations),
            Depends(load_carer_powers),
            Depends(load_unread_notices),
        ],
    )
    return router.routes


class FormTooLarge(TooCostly):
    """What a browser sends is larger than any form of ours."""


class BodySizeLimit:
    """ASGI middleware that refuses what is larger than a form of ours, counted as it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raise FormTooLarge past the limit."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > _MAX_FORM_BYTES:
                raise FormTooLarge("The form is too large.")
            return message

        await self._app(scope, receive_counted, send)


async def _add_headers(
    http_request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await _answer(http_request, call_next)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if response.headers.get("content-type") == "image/svg+xml":
        response.headers["Content-Type"] = "image/svg+xml; charset=utf-8"
    folder, _, name = http_request.url.path.rpartition("/")
    # Not modified is an answer about the file, too: it would take it from the browser.
    if folder == "/static" and response.status_code in (200, 304):
        version = http_request.query_params.get("v", "")
        response.headers["Cache-Control"] = cache_control(name, version)
    else:
        # Open data alone says otherwise.
        response.headers.setdefault("Cache-Control", "no-store")
    return response


async def _use_designations(request: AnyRequest) -> None:
    """Let the page name codes as the server's code systems do; in the context of the page."""
    if request.user_or_none:
        designations: DesignationCache = request.http_request.app.state.designations
        await designations.use(request.gateway)


async def _answer(
    http_request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Answer a request; what is no address of ours is not found, and no fault is told."""
    if not _ADDRESS.fullmatch(http_request.scope["path"]):
        return _render_message(portal_request(http_request), 404, _NOT_FOUND)
    try:
        return await call_next(http_request)
    except Exception as error:
        # The text of an exception may hold values of a record; where it was raised cannot.
        frames = traceback.extract_tb(error.__traceback__)[-_LOGGED_FRAMES:]
        places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        _LOG.error("A page failed: %s at %s", type(error).__name__, places)
        return PlainTextResponse(f"{_FAULT[0]}. {_FAULT[1]}\n", 500)


async def _render_error(http_request: Request, error: Exception) -> Response:
    request = portal_request(http_request)
    if isinstance(error, Unauthorized):
        return _end_session(request)
    if isinstance(error, FormTooLarge):
        # No page of ours sends so much.
        return PlainTextResponse("The form is too large.\n", 413)
    if isinstance(error, NotFound):
        return _render_message(request, 404, _NOT_FOUND)
    if isinstance(error, Forbidden):
        return _render_message(request, 403, _FORBIDDEN)
    if isinstance(error, SessionsUnwritable):
        response = _render_message(request, 503, _NO_ROOM)
        response.headers["Retry-After"] = "60"
        if http_request.url.path == "/logout":
            # The browser at least keeps nothing that opens it.
            request.delete_session_cookie(response)
        return response
    if isinstance(error, TooMany):
        return _render_message(request, 429, _TOO_MANY)
    if isinstance(error, OtherPatientForm):
        return _render_message(request, 409, _OTHER_PATIENT)
    status = http_status(error) if isinstance(error, EhrError) else 500
    if status in (409, 412):
        return _render_message(request, status, _CHANGED_ELSEWHERE)
    # Any other refusal of the gateway is a fault between it and us: 502 Bad Gateway.
    return _render_message(request, status if status >= 500 else 502, _FAULT)


async def _render_not_found(http_request: Request, error: Exception) -> Response:
    return _render_message(portal_request(http_request), 404, _NOT_FOUND)


# Heading and text.
_NOT_FOUND = (
    N_("There is nothing here"),
    N_("The page does not exist, or it is not shared with you."),
)
_FORBIDDEN = (
    N_("This page is not for you"),
    N_("Your role does not open this page. Go back, or log in as someone else."),
)
_CHANGED_ELSEWHERE = (
    N_("This was changed a moment ago"),
    N_("The same choice was changed elsewhere. Nothing was saved: look again."),
)
_OTHER_PATIENT = (
    N_("You act for another person now"),
    N_(
        "This page was opened while you acted for somebody else. Nothing was saved. Look at the top"
        " for whom you act now, and do it again there."
    ),
)
_TOO_MANY = (
    N_("Too many requests at once"),
    N_("Nothing was changed. Wait a minute, then try again."),
)
_NO_ROOM = (
    N_("Nobody can log in or out just now"),
    N_(
        "The server has no room left to keep log-ins. Your record is safe and nothing was changed."
        " If you were logging out, close the browser, and try again in a few minutes."
    ),
)
_FAULT = (
    N_("Something went wrong on our side"),
    N_("Your record is safe and nothing was changed. Please try again in a moment."),
)


def _render_message(request: PortalRequest, status: int, message: tuple[str, str]) -> Response:
    heading, text = message
    return request.render("message.html", status=status, heading=heading, text=text)


def _end_session(request: PortalRequest) -> Response:
    # The gateway no longer takes the token, so this session has nothing left to show.
    if request.session_or_none:
        # The token opens nothing any more, whether or not the session can be deleted now.
        with suppress(SessionsUnwritable):
            request.portal.sessions.end(request.session_or_none.id)
    response = RedirectResponse("/?ended=1", 303)
    request.delete_session_cookie(response)
    return response
