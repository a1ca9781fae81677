"""Notices: what the reader was told, and how they want to be told."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_portal.gateway.operations import parameters, steps, values
from ehr_portal.i18n import LANGUAGES, N_
from ehr_portal.web.request import Form, Page, ToldPage

router = APIRouter()


@router.get("/notices")
async def show(page: ToldPage) -> Response:
    """Show the notices, newest first."""
    return await _show(page)


@router.post("/notices")
async def choose(page: ToldPage, form: Form) -> Response:
    """Keep how the reader wants to be told."""
    chosen = parameters(
        language=form.get("language", ""),
        email=form.get("email", "").strip(),
        each_access="yes" if form.get("each") else "no",
    )
    try:
        await page.gateway.call("$notice-preference", chosen)
    except Invalid:
        wrong = [("email", N_("Type an e-mail address, such as name@example.com."))]
        return await _show(page, wrong, form.get("email", ""))
    page.stay.note("done", page.text(N_("Your choice is kept.")))
    return page.go("/notices")


async def _show(
    page: Page, wrong: list[tuple[str, str]] | None = None, typed: str | None = None
) -> Response:
    answer = await page.gateway.ask("$notices", language=page.language)
    chosen = values(answer)
    return page.render(
        "notices.html",
        status=422 if wrong else 200,
        notices=steps(answer, "notice"),
        email=typed if typed is not None else "".join(chosen.get("email", [])),
        language="".join(chosen.get("language", [])),
        each=chosen.get("each-access") == ["true"],
        tongues=LANGUAGES,
        wrong=wrong or [],
    )
