"""Display settings of the log-in pages: language, theme and text size, for anybody.

They are links and a form that is sent by GET: they change how this browser shows pages and nothing
else. The portal reads the same cookies.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from ehr_design.display_settings import LANGUAGE, DisplaySettings, set_choice_cookie
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.gateway import Gateway, GatewayDependency
from ehr_gateway.html import pages
from ehr_gateway.login import browser

router = APIRouter(prefix="/oauth")
# A page of the log-in with its query. Nothing else, since a link here can come from anybody.
_OWN_PAGE = re.compile(r"/oauth/[a-z/-]{1,64}(?:\?[A-Za-z0-9=&%+._~-]{0,8000})?")
_HOME = "/oauth/account"


@router.get("/display")
def show_display_settings(request: Request) -> Response:
    """Show the choices, and a way back to the page that the reader came from."""
    saved = "saved" in request.query_params
    return pages.render_page(
        "display.html", pages.page_language(request), back=_back_path(request), saved=saved
    )


@router.get("/display/save")
def save_display_settings(request: Request, gateway: GatewayDependency) -> Response:
    """Keep the choices in the browser and show them at work."""
    language = pages.page_language(request)
    if request.query_params.get(LANGUAGE) in _language_tags():
        language = request.query_params[LANGUAGE]
    back = re.sub(r"\blang=[\w-]*", f"lang={language}", _back_path(request))
    query = urlencode({"back": back, "saved": "1", "lang": language})
    response = _redirect(f"{pages.DISPLAY_PATH}?{query}#saved")
    choices = DisplaySettings.parse(request.query_params).to_choices()
    for name, value in {**choices, LANGUAGE: language}.items():
        set_choice_cookie(response, name, value, secure=browser.uses_https(gateway))
    return response


@router.get("/display/language")
def set_language(request: Request, gateway: GatewayDependency) -> Response:
    """Keep the reader's language and go back to the page they were on, to the same control."""
    response = _redirect(f"{_back_path(request)}#chosen-language")
    language = request.query_params.get(LANGUAGE, "")
    if language in _language_tags():
        set_choice_cookie(response, LANGUAGE, language, secure=browser.uses_https(gateway))
    return response


def keep_display_settings(response: Response, request: Request, gateway: Gateway) -> None:
    """Keep the settings that an authorize request passes along, unless the reader has chosen.

    For a portal at another origin, whose cookies do not reach this one.
    """
    requested = DisplaySettings.from_parameters(request.query_params)
    if requested == DisplaySettings() or DisplaySettings.has_choice(request.cookies):
        return
    for name, value in requested.to_choices().items():
        set_choice_cookie(response, name, value, secure=browser.uses_https(gateway))


def _back_path(request: Request) -> str:
    back = request.query_params.get("back", "")
    return back if _OWN_PAGE.fullmatch(back) else _HOME


def _language_tags() -> set[str]:
    return {language.tag for language in JURISDICTION.languages}


def _redirect(path: str) -> Response:
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})
