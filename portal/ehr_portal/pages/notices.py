"""Notices: what the reader was told, and how they want to be told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unavailable
from ehr_portal.gateway.operations import (
    MultiPartParameter,
    build_parameters,
    parse_multi_parts,
    parse_values,
)
from ehr_portal.i18n import N_
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import NoticeReaderRequest
from ehr_portal.web.unread_notices import remember_unread_notices

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/notices", N_("Notices"), 50),
    NavigationLink("carer", "/notices", N_("Notices"), 20),
)


@router.get("/notices")
async def show_notices(
    request: NoticeReaderRequest, before: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Show the notices, newest first or those older than one, and the form of the preferences."""
    return await _render_notices(request, before=before)


@router.post("/notices")
async def save_preference(request: NoticeReaderRequest, form: VerifiedForm) -> Response:
    """Save how the reader wants to be told."""
    email = form.get("email", "")
    preference = build_parameters(
        language=form.get("language", ""),
        email=email.strip(),
        each_access="yes" if form.get("each") else "no",
    )
    try:
        await request.gateway.invoke("$notice-preference", preference)
    except Invalid:
        text = N_("Type an e-mail address, such as name@example.com.")
        return await _render_notices(request, FieldError("email", text), typed_email=email)
    request.flash(N_("Your choice is kept."))
    return request.redirect("/notices")


async def _render_notices(
    request: PortalRequest,
    error: FieldError | None = None,
    *,
    typed_email: str | None = None,
    before: str = "",
) -> Response:
    older = {"before": before} if before else {}
    answer = await request.gateway.invoke_by_get("$notices", language=request.language, **older)
    notices, preference = parse_multi_parts(answer, "notice"), parse_values(answer)
    await _mark_read(request, notices, "".join(preference.get("unread", [])))
    has_older = preference.get("older") == ["true"]
    older_path = f"/notices?before={notices[-1].id}" if has_older else ""
    saved_email = "".join(preference.get("email", []))
    return request.render(
        "notices.html",
        notices=notices,
        is_older=bool(before),
        older_path=older_path,
        email=saved_email if typed_email is None else typed_email,
        preferred_language="".join(preference.get("language", [])),
        each_access=preference.get("each-access") == ["true"],
        errors=[error] if error else [],
    )


async def _mark_read(
    request: PortalRequest, notices: list[MultiPartParameter], unread: str
) -> None:
    """Mark what this page shows as read; one that comes meanwhile, or is older, stays new."""
    if any(notice.read == "false" for notice in notices):
        parameters = build_parameters(newest=notices[0].id, oldest=notices[-1].id)
        try:
            answer = await request.gateway.invoke("$read-notices", parameters)
        except Unavailable:
            # The notices can be read all the same, and are new once more the next time.
            return
        unread = "".join(parse_values(answer).get("unread", []))
    remember_unread_notices(request, int(unread or 0))
