"""The history of the patient's choices, and undoing one by choosing anew."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, PreconditionFailed
from ehr_portal.i18n import N_
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES
from ehr_portal.sharing.choices import Choice, parse_choices, plan_undo
from ehr_portal.sharing.restrictions import PROFESSION_TITLES, SECURITY_LABEL_TITLES
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import DeciderRequest, PatientRequest

router = APIRouter()
MADE_BY_TITLES = {
    "self": N_("By the patient"),
    "carer": N_("By a carer"),
    "counter": N_("Written down at the counter"),
    "code": N_("By the one-time code that was told to"),
    "platform": N_("By the platform"),
}


@router.get("/choices")
async def show_choices(request: DeciderRequest) -> Response:
    """Show every choice, newest first."""
    choices, providers = await asyncio.gather(
        _fetch_choices(request), fetch_providers(request.gateway)
    )
    return request.render(
        "choices.html",
        choices=[(choice, bool(plan_undo(choices, choice, request.now))) for choice in choices],
        providers=providers,
        MADE_BY_TITLES=MADE_BY_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        SECURITY_LABEL_TITLES=SECURITY_LABEL_TITLES,
        PROFESSION_TITLES=PROFESSION_TITLES,
    )


@router.post("/choices/undo")
async def undo_choice(request: PatientRequest, form: PatientForm) -> Response:
    """Undo one choice as it was shown: it is refused if the choice was changed meanwhile."""
    choices = await _fetch_choices(request)
    shown = (form.get("consent", ""), form.get("version", ""))
    choice = next(
        (choice for choice in choices if (choice.consent_id, str(choice.version)) == shown), None
    )
    undone = plan_undo(choices, choice, request.now) if choice else None
    if undone is None:
        request.flash_problem(N_("This was changed meanwhile. Look at your choices again."))
        return request.redirect("/choices")
    try:
        await request.gateway.update(undone)
    except PreconditionFailed:
        request.flash_problem(N_("This was changed meanwhile. Look at your choices again."))
    except (Forbidden, Invalid):
        request.flash_problem(N_("This cannot be undone. Make a new choice instead."))
    else:
        request.flash(
            N_("It is undone by a new choice, from this moment. What had ended for good stays so.")
        )
    return request.redirect("/choices")


async def _fetch_choices(request: PortalRequest) -> list[Choice]:
    return parse_choices(await request.gateway.invoke_by_get(f"Patient/{request.patient}/$choices"))
