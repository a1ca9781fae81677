"""One request of one reader: language, session, the gateway with their token, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from ehr_design.display_settings import (
    LANGUAGE,
    DisplaySettings,
    read_choice,
    set_choice_cookie,
)
from ehr_fhir.errors import Unauthorized
from ehr_portal.gateway.client import GatewayClient
from ehr_portal.i18n import LANGUAGES, choose_language, localizer_for
from ehr_portal.record.providers import Provider
from ehr_portal.settings import PortalSettings
from ehr_portal.web.headers import SCRIPT_POLICY
from ehr_portal.web.help_topics import HelpTopic, find_help
from ehr_portal.web.live_rows import LiveStreams
from ehr_portal.web.navigation import Navigation
from ehr_portal.web.provider_directory import ProviderDirectory
from ehr_portal.web.sessions import Session, SessionStore, User
from ehr_portal.web.shortcuts import SHORTCUTS, Shortcut, read_shortcut_mode
from ehr_portal.web.templates import template_environment

# The hidden field of a carer's forms: for whom they acted when the page was opened.
ACTING_FIELD = "acting-for"


@dataclass(frozen=True)
class LanguageLink:
    """A language of the pages and the address that chooses it."""

    tag: str
    short: str
    path: str


@dataclass(frozen=True)
class Portal:
    """What all requests share."""

    client: httpx.AsyncClient
    settings: PortalSettings
    sessions: SessionStore
    navigation: Navigation
    live_streams: LiveStreams
    directory: ProviderDirectory

    @property
    def session_cookie(self) -> str:
        """Return the session cookie's name; the prefix makes browsers insist on HTTPS."""
        return "__Host-session" if self.settings.secure else "session"


class PortalRequest:
    """One request: made once, read by the routes, answered by `render` or `redirect`."""

    def __init__(self, http_request: Request, portal: Portal) -> None:
        self.http_request = http_request
        self.portal = portal
        language = choose_language(
            read_choice(http_request.cookies, LANGUAGE),
            http_request.headers.get("accept-language"),
        )
        self.localizer = localizer_for(language.tag)
        self.display = DisplaySettings.from_cookies(http_request.cookies)
        session_id = http_request.cookies.get(portal.session_cookie)
        self._gateway: GatewayClient | None = None
        self.session_or_none: Session | None = (
            portal.sessions.load(session_id) if session_id else None
        )

    @property
    def language(self) -> str:
        """Return the tag of the reader's language."""
        return self.localizer.language.tag

    @property
    def language_links(self) -> list[LanguageLink]:
        """Return the languages of the head of every page, each leading back to this page."""
        back = quote(self.path_and_query, safe="")
        return [
            LanguageLink(language.tag, language.short, f"/language/{language.tag}?back={back}")
            for language in LANGUAGES
        ]

    @property
    def display_path(self) -> str:
        """Return the address of the display settings, which leads back to this page."""
        if self.path == "/display":
            return self.path_and_query
        return f"/display?back={quote(self.path_and_query, safe='')}"

    @property
    def runs_script(self) -> bool:
        """Return whether the pages of this reader run our script: clinicians' alone."""
        return self.user_or_none is not None and self.user_or_none.role == "clinician"

    @property
    def shortcut_mode(self) -> str:
        """Return how this reader uses keyboard shortcuts: a key of SHORTCUT_MODES."""
        return read_shortcut_mode(self.http_request.cookies)

    @property
    def shortcuts(self) -> tuple[Shortcut, ...]:
        """Return the shortcuts that every page of a clinician has."""
        return SHORTCUTS

    @property
    def session(self) -> Session:
        """Return the session or raise Unauthorized."""
        if self.session_or_none is None:
            raise Unauthorized("Log in first.")
        return self.session_or_none

    @property
    def user_or_none(self) -> User | None:
        """Return who is logged in, if anybody is."""
        return self.session_or_none.user if self.session_or_none else None

    @property
    def user(self) -> User:
        """Return who is logged in or raise Unauthorized."""
        if self.user_or_none is None:
            raise Unauthorized("Log in first.")
        return self.user_or_none

    @property
    def unread_notices(self) -> int:
        """Return how many notices are new, as it was known lately."""
        return self.session_or_none.unread if self.session_or_none else 0

    @property
    def represented_people(self) -> list[list[str]]:
        """Return whom a carer may act for: id, Latin and Chinese name of each."""
        return self.session_or_none.people if self.session_or_none else []

    @property
    def patient(self) -> str:
        """Return the id of the patient whose own pages these are: the user, or whom they act for.

        For pages with a PatientRequest, which made sure that there is one.
        """
        return self.user.patient or ""

    @property
    def gateway(self) -> GatewayClient:
        """Return the gateway's client with this person's token, one for the whole request."""
        token = self.user.token
        if self._gateway is None or self._gateway.token != token:
            # What is read side by side leaves together, from wherever in the page it is asked.
            self._gateway = GatewayClient(self.portal.client, token, self.client_address)
        return self._gateway

    async def load_providers(self) -> dict[str, Provider]:
        """Return the organisations whose names stand beside records, by id; a minute old at most.

        Raises what the gateway answers instead of them.
        """
        return await self.portal.directory.load(self.gateway)

    @property
    def client_address(self) -> str:
        """Return where the reader's browser calls from, for the audit log."""
        return self.http_request.client.host if self.http_request.client else ""

    @property
    def path(self) -> str:
        """Return the path of this page."""
        return self.http_request.url.path

    @property
    def path_and_query(self) -> str:
        """Return the address of this page within the portal."""
        query = self.http_request.url.query
        return f"{self.path}?{query}" if query else self.path

    @property
    def now(self) -> datetime:
        """Return the time of the request."""
        return datetime.fromtimestamp(self.portal.settings.clock(), UTC)

    def translate(self, message: str, **values: str) -> str:
        """Return a marked text in the reader's language with its values put in."""
        translation = self.localizer.translate(message)
        return translation % values if values else translation

    def flash(self, message: str, **values: str) -> None:
        """Leave a confirmation for the next page."""
        self.session.add_flash("done", self.translate(message, **values))

    def flash_problem(self, message: str) -> None:
        """Leave a message for the next page that something was not done."""
        self.session.add_flash("problem", self.translate(message))

    def render(self, template: str, *, status: int | None = None, **values: Any) -> Response:
        """Return a page; the values are the template's, whose checks are the page tests.

        A form with `errors` is answered with 422 Unprocessable Content, another page with 200.
        """
        body = (
            template_environment(self.language)
            .get_template(template)
            .render(
                request=self,
                lang=self.language,
                languages=LANGUAGES,
                # Whose record the page shows stands on every sheet of paper.
                printed_person=values.get("person"),
                user=self.user_or_none,
                help_topic=self._help_topic(),
                navigation=self.portal.navigation.links_for(self.user_or_none),
                flashes=self.session_or_none.take_flashes() if self.session_or_none else [],
                **values,
            )
        )
        self._save_session()
        if status is None:
            status = 422 if values.get("errors") else 200
        response = HTMLResponse(body, status)
        if self.runs_script:
            response.headers["Content-Security-Policy"] = SCRIPT_POLICY
        return response

    def render_part(self, template: str, **values: Any) -> str:
        """Return a part of a page, such as the rows of a list, as HTML; the session is not saved.

        So rows that change by themselves do not count as a reader's presence.
        """
        return (
            template_environment(self.language)
            .get_template(template)
            .render(request=self, lang=self.language, user=self.user_or_none, **values)
        )

    def redirect(self, path: str) -> RedirectResponse:
        """Send the reader to another page of ours, by GET (303 See Other)."""
        self._save_session()
        return RedirectResponse(path, 303)

    def csrf_field(self, action: str) -> Markup:
        """Return the hidden fields that a form sent to `action` must hold."""
        token = self.session.csrf_token(action)
        field = Markup('<input type="hidden" name="csrf" value="{}">').format(token)
        if self.user_or_none and self.user_or_none.acts_for_patient:
            acting = Markup('<input type="hidden" name="{}" value="{}">')
            field += acting.format(ACTING_FIELD, self.patient)
        return field

    def set_session_cookie(self, response: Response, session: Session) -> None:
        """Give the browser the session's id."""
        response.set_cookie(
            self.portal.session_cookie,
            session.id,
            path="/",
            httponly=True,
            # Not "strict": the gateway's log-in page sends the browser back here.
            samesite="lax",
            secure=self.portal.settings.secure,
        )

    def delete_session_cookie(self, response: Response) -> None:
        """Take the session's id from the browser."""
        response.delete_cookie(
            self.portal.session_cookie,
            path="/",
            httponly=True,
            secure=self.portal.settings.secure,
        )

    def set_choice_cookie(self, response: Response, name: str, value: str) -> None:
        """Keep a choice of how pages look, or of their language, in the browser for a year."""
        set_choice_cookie(response, name, value, secure=self.portal.settings.secure)

    def _help_topic(self) -> HelpTopic | None:
        # The topics are those of patients and carers.
        is_patients = self.user_or_none and self.user_or_none.role in ("patient", "carer")
        return find_help(self.path, self.language) if is_patients else None

    def _save_session(self) -> None:
        if self.session_or_none:
            self.portal.sessions.save(self.session_or_none)


def portal_request(http_request: Request) -> PortalRequest:
    """Return the request of the portal, made at its first use."""
    if not hasattr(http_request.state, "portal_request"):
        http_request.state.portal_request = PortalRequest(
            http_request, http_request.app.state.portal
        )
    request: PortalRequest = http_request.state.portal_request
    return request


def local_path(path: str) -> str:
    """Return a path of ours, or the front page for anything else.

    >>> local_path("/record"), local_path("//evil.example"), local_path("https://evil.example/")
    ('/record', '/', '/')
    """
    # Browsers read a backslash as a slash, so that "/\\host" leads to another origin too.
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_local and not urlsplit(path).netloc and path.isprintable() else "/"
