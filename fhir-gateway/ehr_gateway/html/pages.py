"""Log-in pages: HTML rendered by Jinja in the place's languages, under a strict security policy.

Pages need no script, except those that offer passkeys. Their style sheet, icons and frame are the
portal's, from `ehr_design`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from urllib.parse import urlencode, urlsplit

import jinja2
from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from ehr_design.display_settings import LANGUAGE, DisplaySettings, read_choice
from ehr_design.jinja_macros import add_design
from ehr_fhir.jurisdiction import JURISDICTION

STATIC_PREFIX = "/oauth/static"
DISPLAY_PATH = "/oauth/display"
# The one script there is, for passkeys, and only on pages that offer them.
_SCRIPT = "script-src 'self'; "
_DEFAULTS: dict[str, object] = {
    "urlencode": urlencode,
    "request_token": "",
    "notice": "",
    "here": "",
    "error": "",
    "error_field": "",
}


@cache
def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text of the pages by key and language."""
    return tomllib.loads(
        resources.files("ehr_gateway").joinpath("html/texts.toml").read_text("utf-8")
    )


def choose_language(requested: str, accepted: str) -> str:
    """Return the page's language from what was requested, else from Accept-Language.

    >>> choose_language("zh-HK", ""), choose_language("", "zh-CN,zh;q=0.9")
    ('zh-Hant-HK', 'zh-Hans')
    """
    for tag in [*requested.split(), *(part.split(";")[0].strip() for part in accepted.split(","))]:
        if language := JURISDICTION.match_language(tag):
            return language.tag
    return JURISDICTION.default_language.tag


def page_language(request: Request, ui_locales: str = "") -> str:
    """Return the language of the page for a request.

    In this order: the parameter `lang`, which links and forms of these pages carry; the client's
    `ui_locales`; the reader's cookie, which the portal sets too; Accept-Language.
    """
    kept = read_choice(request.cookies, LANGUAGE)
    requested = request.query_params.get("lang", "") or ui_locales or kept
    return choose_language(requested, request.headers.get("accept-language", ""))


class Page(Response):
    """A page that is rendered when it is sent.

    Only then is the browser's request at hand, whose cookies say how the reader wants pages to
    look: the functions that choose a page know its language and nothing else of the reader.
    """

    media_type = "text/html"

    def __init__(
        self,
        template: str,
        language: str,
        values: Mapping[str, object],
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, status, dict(headers))
        self._template = template
        self._language = language
        self._values = values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page for the browser that asked, and send it."""
        request = Request(scope)
        display = DisplaySettings.from_cookies(request.cookies)
        if display == DisplaySettings():
            # The first page after a portal at another origin has no cookie yet.
            display = DisplaySettings.from_parameters(request.query_params)
        self.body = await run_in_threadpool(self._render_html, display)
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)

    def _render_html(self, display: DisplaySettings) -> bytes:
        def text(key: str, **parts: object) -> str:
            return load_texts()[key][self._language].format(**parts)

        values = {
            **_DEFAULTS,
            "languages": JURISDICTION.languages,
            **self._values,
            "t": text,
            "lang": self._language,
            "display": display,
        }
        here, token = str(values["here"]), values["request_token"]

        def back_in(tag: str) -> str:
            # By the parameter as well as by the cookie, which a browser may refuse.
            return f"{here}?{urlencode({**({'request': token} if token else {}), 'lang': tag})}"

        values["language_links"] = [
            {
                "tag": language.tag,
                "short": language.short,
                "path": f"{DISPLAY_PATH}/language?"
                + urlencode({"language": language.tag, "back": back_in(language.tag)}),
            }
            for language in JURISDICTION.languages
            if here
        ]
        values["display_path"] = (
            f"{DISPLAY_PATH}?{urlencode({'back': back_in(self._language)})}" if here else ""
        )
        return _jinja_environment().get_template(self._template).render(values).encode()


def render_page(
    template: str,
    language: str,
    *,
    status: int = 200,
    form_target: str = "",
    script: bool = False,
    **values: object,
) -> Response:
    """Return a page. `form_target` is the address to which its form may lead in the end.

    `*` is for the simulator of another service alone: its form may lead anywhere.
    """
    headers = _security_headers(form_target, script=script)
    return Page(template, language, {**values, "script": script}, status, headers)


def _security_headers(form_target: str, *, script: bool) -> dict[str, str]:
    # Browsers apply form-action to the redirect that follows the form as well.
    target = urlsplit(form_target)
    after = f" {target.scheme}://{target.netloc}" if target.netloc else ""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'self'; {_SCRIPT if script else ''}img-src 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
            + ("" if form_target == "*" else f"; form-action 'self'{after}")
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


@cache
def _jinja_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_gateway", "html/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    add_design(environment, STATIC_PREFIX)
    return environment
