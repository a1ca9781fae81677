"""Log-in pages: HTML rendered by Jinja in the place's languages, under a strict security policy.

Pages need no script, except those that offer passkeys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from urllib.parse import urlencode, urlsplit

import jinja2
from fastapi.responses import HTMLResponse

from ehr_fhir.jurisdiction import JURISDICTION

# The one script there is, for passkeys, and only on pages that offer them.
_SCRIPT = "script-src 'self'; "
LANGUAGES = {language.tag: language.name for language in JURISDICTION.languages}


_DEFAULTS: dict[str, object] = {
    "languages": LANGUAGES,
    "urlencode": urlencode,
    "request_token": "",
    "notice": "",
}


@cache
def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text of the pages by key and language."""
    return tomllib.loads(
        resources.files("ehr_gateway").joinpath("html/texts.toml").read_text("utf-8")
    )


def choose_language(requested: str, accepted: str) -> str:
    """Return the page's language from `ui_locales` or `lang`, else from Accept-Language.

    >>> choose_language("zh-HK", ""), choose_language("", "zh-CN,zh;q=0.9")
    ('zh-Hant-HK', 'zh-Hans')
    """
    for tag in [*requested.split(), *(part.split(";")[0].strip() for part in accepted.split(","))]:
        if language := JURISDICTION.match_language(tag):
            return language.tag
    return JURISDICTION.default_language.tag


def render_page(
    template: str,
    language: str,
    *,
    status: int = 200,
    form_target: str = "",
    script: bool = False,
    **values: object,
) -> HTMLResponse:
    """Render a page. `goes_to` is the address to which its form may lead in the end.

    `*` is for the simulator of another service alone: its form may lead anywhere.
    """

    def text(key: str, **parts: object) -> str:
        return load_texts()[key][language].format(**parts)

    html = (
        _jinja_environment()
        .get_template(template)
        .render(**{**_DEFAULTS, **values, "t": text, "lang": language, "script": script})
    )
    return HTMLResponse(html, status, headers=_security_headers(form_target, script=script))


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
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_gateway", "html/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
