"""The portal's application: pages, style sheet, headers, and what happens when something fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_fhir.errors import EhrError, Forbidden, NotFound, TooCostly, Unauthorized, http_status
from ehr_portal.i18n import N_
from ehr_portal.pages import (
    access_requests,
    add_restriction,
    carers,
    clinician_record,
    emergency,
    explain_access,
    hold_result,
    login,
    notices,
    patient_record,
    quality,
    request_access,
    reviews,
    sharing,
    substitute_decision_maker,
    who_looked,
)
from ehr_portal.settings import PortalSettings
from ehr_portal.web.request import Page, Portal, page_of
from ehr_portal.web.sessions import SessionStore

# The longest form has a reason typed in a box.
_MAX_FORM_BYTES = 64 * 1024
# No script, no frame, no other origin: a page is text, our style sheet and forms to ourselves.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create_portal(gateway: httpx.AsyncClient, settings: PortalSettings) -> FastAPI:
    """Return the portal; `gateway` is a client whose base address is the gateway's."""
    # No redirect to "the same with a slash": it would follow the Host that a client made up.
    app = FastAPI(
        title="eHR Commons", docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    sessions = SessionStore(settings.sessions, settings.idle, settings.absolute, settings.clock)
    app.state.portal = Portal(gateway, settings, sessions)
    # In this order: fixed addresses before those with a section's key in them.
    for module in (
        login, add_restriction, explain_access, sharing, access_requests, carers, notices,
        emergency, request_access, hold_result, substitute_decision_maker, patient_record,
        who_looked, clinician_record, quality, reviews,
    ):  # fmt: skip
        app.include_router(module.router)
    static = StaticFiles(directory=str(files("ehr_portal") / "static"))
    app.mount("/static", static, name="static")
    app.add_middleware(_Limited)
    app.middleware("http")(_add_headers)
    app.add_exception_handler(EhrError, _failed)
    app.add_exception_handler(HTTPException, _no_page)
    app.add_exception_handler(RequestValidationError, _no_page)
    return app


class _Limited:
    """Refuses what is larger than a form of ours can be, counted as it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > _MAX_FORM_BYTES:
                raise TooCostly("The form is too large.")
            return message

        await self._app(scope, counted, send)


async def _add_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if response.headers.get("content-type") == "image/svg+xml":
        response.headers["Content-Type"] = "image/svg+xml; charset=utf-8"
    kept = request.url.path.startswith("/static/") and response.status_code == 200
    response.headers["Cache-Control"] = "public, max-age=3600" if kept else "no-store"
    return response


async def _failed(request: Request, error: Exception) -> Response:
    page = page_of(request)
    if isinstance(error, Unauthorized):
        return _log_in_again(page)
    if isinstance(error, TooCostly):
        # No page of ours sends so much.
        return PlainTextResponse("The form is too large.\n", 413)
    status = http_status(error) if isinstance(error, EhrError) else 500
    if isinstance(error, NotFound):
        return _missing(page)
    if isinstance(error, Forbidden):
        return page.render(
            "message.html",
            status=403,
            heading=N_("This page is not for you"),
            text=N_("Your role does not open this page. Go back, or log in as someone else."),
        )
    if status in (409, 412):
        return page.render(
            "message.html",
            status=status,
            heading=N_("This was changed a moment ago"),
            text=N_("The same choice was changed elsewhere. Nothing was saved: look again."),
        )
    return page.render(
        "message.html",
        status=status if status >= 500 else 502,
        heading=N_("Something went wrong on our side"),
        text=N_("Your record is safe and nothing was changed. Please try again in a moment."),
    )


async def _no_page(request: Request, error: Exception) -> Response:
    return _missing(page_of(request))


def _missing(page: Page) -> Response:
    return page.render(
        "message.html",
        status=404,
        heading=N_("There is nothing here"),
        text=N_("The page does not exist, or it is not shared with you."),
    )


def _log_in_again(page: Page) -> Response:
    # The gateway no longer takes the token, so this session has nothing left to show.
    if page.session:
        page.portal.sessions.end(page.session.id)
    response = RedirectResponse("/?ended=1", 303)
    page.forget_cookie(response)
    return response
