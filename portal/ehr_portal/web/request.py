"""One request of one reader: language, session, the gateway with their token, and the answer."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx
import jinja2
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from ehr_fhir.errors import Forbidden, Unauthorized
from ehr_portal.gateway.client import Gateway
from ehr_portal.i18n import LANGUAGES, N_, Words, choose, words
from ehr_portal.settings import PortalSettings
from ehr_portal.web.sessions import Session, SessionStore, User

YEAR = 365 * 24 * 3600

# Where each role starts, and the places in its bar.
PLACES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "patient": (
        ("/record", N_("Your record")),
        ("/sharing", N_("Sharing")),
        ("/requests", N_("Requests")),
        ("/who-looked", N_("Who looked")),
        ("/notices", N_("Notices")),
        ("/carers", N_("Carers")),
    ),
    "carer": (("/people", N_("People you care for")), ("/notices", N_("Notices"))),
    "clinician": (("/patients", N_("Find a patient")), ("/emergency", N_("Emergency"))),
    "steward": (
        ("/quality", N_("Data quality")),
        ("/reviews", N_("Reviews")),
        ("/deliveries", N_("Notices sent")),
        ("/audit", N_("Audit log")),
        ("/unusual", N_("Unusual access")),
    ),
    "auditor": (("/audit", N_("Audit log")), ("/unusual", N_("Unusual access"))),
}


# What a carer finds besides, once it is said for whom he acts; the last two where he decides.
_ACTING = (("/record", N_("The record")), ("/who-looked", N_("Who looked")))
_DECIDING = (("/sharing", N_("Sharing")), ("/requests", N_("Requests")))


def places_of(user: User | None) -> tuple[tuple[str, str], ...]:
    """Return the places in the bar of a person."""
    if user is None:
        return ()
    acting = _ACTING + (_DECIDING if user.manages else ()) if _acts(user) else ()
    return PLACES.get(user.role, ()) + acting


@dataclass(frozen=True)
class Portal:
    """What all requests share."""

    client: httpx.AsyncClient
    settings: PortalSettings
    sessions: SessionStore

    @property
    def cookie(self) -> str:
        """Return the session cookie's name; the prefix makes browsers insist on HTTPS."""
        return "__Host-session" if self.settings.secure else "session"

    @property
    def language_cookie(self) -> str:
        """Return the name of the cookie that holds the reader's language."""
        return "__Host-language" if self.settings.secure else "language"


class Page:
    """One request; made once, asked by the routes, answers by `render` or `go`."""

    def __init__(self, request: Request, portal: Portal) -> None:
        self.request = request
        self.portal = portal
        self.words: Words = words(
            choose(
                request.cookies.get(portal.language_cookie), request.headers.get("accept-language")
            ).tag
        )
        session_id = request.cookies.get(portal.cookie)
        self.session: Session | None = portal.sessions.find(session_id) if session_id else None

    @property
    def language(self) -> str:
        """Return the tag of the reader's language."""
        return self.words.language.tag

    @property
    def user(self) -> User:
        """Return who is logged in or raise Unauthorized."""
        if self.session is None or self.session.user is None:
            raise Unauthorized("Log in first.")
        return self.session.user

    @property
    def gateway(self) -> Gateway:
        """Return the gateway with this person's token."""
        return Gateway(self.portal.client, self.user.token, self.address)

    @property
    def address(self) -> str:
        """Return where the reader's browser calls from, for the audit log."""
        return self.request.client.host if self.request.client else ""

    @property
    def now(self) -> datetime:
        """Return the time of the request."""
        return datetime.fromtimestamp(self.portal.settings.clock(), UTC)

    @property
    def stay(self) -> Session:
        """Return the session or raise Unauthorized."""
        if self.session is None:
            raise Unauthorized("Log in first.")
        return self.session

    def text(self, message: str, **values: str) -> str:
        """Return a marked text in the reader's language with its values put in."""
        return self.words.text(message) % values if values else self.words.text(message)

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page; the values are the template's, whose checks are the page tests."""
        user = self.session.user if self.session else None
        shown = environment(self.language).get_template(template)
        body = shown.render(
            page=self,
            lang=self.language,
            languages=LANGUAGES,
            user=user,
            places=places_of(user),
            here=self.request.url.path,
            notes=self.session.take_notes() if self.session else [],
            **context,
        )
        self._save()
        return HTMLResponse(body, status)

    def go(self, path: str) -> RedirectResponse:
        """Send the reader to another page of ours."""
        self._save()
        return RedirectResponse(path, 303)

    def csrf_field(self, action: str) -> Markup:
        """Return the hidden field that a form sent to `action` must hold."""
        return Markup('<input type="hidden" name="csrf" value="{}">').format(self.stay.csrf(action))

    def set_cookie(self, response: Response, session: Session) -> None:
        """Give the browser the session's id."""
        response.set_cookie(
            self.portal.cookie,
            session.id,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.portal.settings.secure,
        )

    def forget_cookie(self, response: Response) -> None:
        """Take the session's id from the browser."""
        response.delete_cookie(
            self.portal.cookie, path="/", httponly=True, secure=self.portal.settings.secure
        )

    def _save(self) -> None:
        if self.session:
            self.portal.sessions.save(self.session)


def page_of(request: Request) -> Page:
    """Return the request's page, made at its first use."""
    if not hasattr(request.state, "page"):
        request.state.page = Page(request, request.app.state.portal)
    page: Page = request.state.page
    return page


AnyPage = Annotated[Page, Depends(page_of)]


def _signed_in(page: AnyPage) -> Page:
    # Asking for the user is the check.
    _ = page.user
    return page


def _patient(page: AnyPage) -> Page:
    if not (page.user.role == "patient" and page.user.patient) and not _acts(page.user):
        raise Forbidden("This page is for patients, and for carers who said for whom they act.")
    return page


def _carer(page: AnyPage) -> Page:
    if page.user.role != "carer":
        raise Forbidden("This page is for carers.")
    return page


def _told(page: AnyPage) -> Page:
    if page.user.role not in ("patient", "carer"):
        raise Forbidden("This page is for patients and carers.")
    return page


def _acts(user: User) -> bool:
    return user.role == "carer" and bool(user.patient)


def _clinician(page: AnyPage) -> Page:
    if page.user.role != "clinician":
        raise Forbidden("This page is for clinicians.")
    return page


def _steward(page: AnyPage) -> Page:
    if page.user.role != "steward":
        raise Forbidden("This page is for data stewards.")
    return page


SignedIn = Annotated[Page, Depends(_signed_in)]
PatientPage = Annotated[Page, Depends(_patient)]
CarerPage = Annotated[Page, Depends(_carer)]
ToldPage = Annotated[Page, Depends(_told)]
ClinicianPage = Annotated[Page, Depends(_clinician)]
StewardPage = Annotated[Page, Depends(_steward)]


async def _checked_form(page: SignedIn) -> Mapping[str, str]:
    # The token is bound to session and form; the origin check catches what would replay it.
    form = await page.request.form()
    sent = str(form.get("csrf", ""))
    wanted = page.stay.csrf(page.request.url.path)
    origin = page.request.headers.get("origin")
    own = {page.portal.settings.base_url, str(page.request.base_url).rstrip("/")}
    if not hmac.compare_digest(sent.encode(), wanted.encode()) or (origin and origin not in own):
        raise Forbidden("The form did not come from this page.")
    return {name: value for name, value in form.items() if isinstance(value, str)}


Form = Annotated[Mapping[str, str], Depends(_checked_form)]


def local_path(path: str) -> str:
    """Return a path of ours, or the front page for anything else.

    >>> local_path("/record"), local_path("//evil.example"), local_path("https://evil.example/")
    ('/record', '/', '/')
    """
    parts = urlsplit(path)
    own = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if own and not parts.netloc and path.isprintable() else "/"


@cache
def environment(tag: str) -> jinja2.Environment:
    """Return the templates in one language."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_portal"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    told = words(tag)
    # The i18n extension adds this method; the stubs of jinja2 do not know it.
    made.install_gettext_translations(told.translations, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(
        day=told.day, moment=told.moment, clock=told.time, number=told.number, percent=told.percent,
        quoted=lambda value: quote(value, safe=""),
    )  # fmt: skip
    return made
