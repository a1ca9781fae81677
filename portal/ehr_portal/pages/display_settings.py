"""Display settings: language, theme and text size, for anybody and without a log-in.

For clinicians their keyboard shortcuts as well.

They are links and a form that is sent by GET: they change how this browser shows pages and nothing
else, and the address says all that they do.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_design.display_settings import LANGUAGE, DisplaySettings
from ehr_portal.i18n import LANGUAGE_BY_TAG, LANGUAGES
from ehr_portal.web.request import local_path
from ehr_portal.web.roles import AnyRequest
from ehr_portal.web.shortcuts import SHORTCUT_MODE, SHORTCUT_MODES

router = APIRouter()


@router.get("/display")
def show_display_settings(
    request: AnyRequest, back: Annotated[str, Query()] = "/", saved: Annotated[str, Query()] = ""
) -> Response:
    """Show the choices, and a way back to the page that the reader came from."""
    return request.render(
        "display_settings.html",
        back=local_path(back),
        saved=bool(saved),
        shortcut_choices=[(mode, request.translate(t), "") for mode, t in SHORTCUT_MODES.items()],
        language_choices=[(language.tag, language.name, language.tag) for language in LANGUAGES],
    )


@router.get("/display/save")
def save_display_settings(
    request: AnyRequest,
    back: Annotated[str, Query()] = "/",
    language: Annotated[str, Query()] = "",
    keys: Annotated[str, Query()] = "",
) -> Response:
    """Keep the choices in the browser and show them at work."""
    query = urlencode({"back": local_path(back), "saved": "1"})
    # The fragment keeps the focus where the reader is told of it.
    response = request.redirect(f"/display?{query}#saved")
    choices = DisplaySettings.parse(request.http_request.query_params).to_choices()
    for name, value in choices.items():
        request.set_choice_cookie(response, name, value)
    if language in LANGUAGE_BY_TAG:
        request.set_choice_cookie(response, LANGUAGE, language)
    if keys in SHORTCUT_MODES:
        request.set_choice_cookie(response, SHORTCUT_MODE, keys)
    return response


@router.get("/language/{tag}")
def set_language(request: AnyRequest, tag: str, back: Annotated[str, Query()] = "/") -> Response:
    """Keep the reader's language and go back to the page they were on, to the same control."""
    response = request.redirect(f"{local_path(back)}#chosen-language")
    if tag in LANGUAGE_BY_TAG:
        request.set_choice_cookie(response, LANGUAGE, tag)
    return response
