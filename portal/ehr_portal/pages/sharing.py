"""Sharing: a switch for each hospital and clinic, and what the patient has closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_portal.i18n import N_
from ehr_portal.record.record import fetch_consents, fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES
from ehr_portal.sharing.consents import (
    consent_category,
    deactivate_consent,
    expired_consents,
    has_joined,
    is_in_force,
)
from ehr_portal.sharing.restrictions import (
    PROFESSION_TITLES,
    SECURITY_LABEL_TITLES,
    RestrictionChoice,
    active_restrictions,
    build_restriction,
)
from ehr_portal.sharing.switches import sharing_switches, start_sharing, stop_sharing
from ehr_portal.web.forms import PatientForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import local_path
from ehr_portal.web.roles import PatientRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/sharing", N_("Sharing"), 20),
    NavigationLink("carer", "/sharing", N_("Sharing"), 50, lambda user: user.decides_for_patient),
)
ONE_YEAR = timedelta(days=365)
# What a switch may say: on or off, and for how long where it is not until further notice.
SWITCHES = {("on", ""), ("on", "year"), ("off", "")}
# The ended choices that the page shows. Chosen: the story of the last few years.
MAX_EXPIRED = 20


@router.get("/sharing")
async def show_sharing(request: PatientRequest) -> Response:
    """Show every switch and every closed part."""
    providers, consents = await asyncio.gather(
        fetch_providers(request.gateway), fetch_consents(request.gateway, request.patient)
    )
    in_force = {consent["id"] for consent in consents if is_in_force(consent, request.now)}
    return request.render(
        "sharing.html",
        switches=sharing_switches(providers.values(), consents, request.now),
        restrictions=[
            restriction
            for restriction in active_restrictions(consents)
            if restriction.consent_id in in_force
        ],
        expired=[
            (consent, consent_category(consent))
            for consent in expired_consents(consents, request.now)[:MAX_EXPIRED]
        ],
        has_joined=has_joined(consents),
        providers=providers,
        DOMAIN_TITLES=DOMAIN_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        SECURITY_LABEL_TITLES=SECURITY_LABEL_TITLES,
        PROFESSION_TITLES=PROFESSION_TITLES,
    )


@router.post("/sharing/organization/{organization}")
async def turn_switch(request: PatientRequest, organization: str, form: PatientForm) -> Response:
    """Turn sharing with one organisation on or off, as the form says: a repeat is harmless."""
    wanted = form.get("to"), form.get("term", "")
    if wanted not in SWITCHES:
        # What says nothing opens nothing, and nothing for longer than it says.
        request.flash_problem(N_("Choose one."))
        return request.redirect("/sharing")
    providers, consents = await asyncio.gather(
        fetch_providers(request.gateway), fetch_consents(request.gateway, request.patient)
    )
    if organization not in providers or providers[organization].platform:
        raise NotFound("There is no such organisation.")
    provider = providers[organization]
    if wanted[0] == "off":
        writes = stop_sharing(provider, consents, request.patient, request.now)
        message = N_(
            "Sharing with %(name)s is off. From this moment it no longer sees your shared record. "
            "It still sees what it wrote itself."
        )
    else:
        until = request.now + ONE_YEAR if wanted[1] == "year" else None
        writes = start_sharing(provider, consents, request.patient, request.now, until)
        message = N_("Sharing with %(name)s is on. From this moment it can see your shared record.")
    for consent in writes:
        await request.gateway.save(consent)
    request.flash(message, name=str(provider.name_in(request.language)))
    # The fragment keeps the focus on the switch that was turned.
    return request.redirect(f"/sharing#switch-{organization}")


@router.post("/sharing/restrict")
async def restrict(request: PatientRequest, form: PatientForm) -> Response:
    """Close a kind of records or a single record, for everyone or for one organisation."""
    domain, record, against = (form.get(name, "") for name in ("domain", "record", "against"))
    providers = await fetch_providers(request.gateway)
    is_known = (not domain or domain in DOMAIN_TITLES) and (not against or against in providers)
    if not (domain or record) or not is_known:
        request.flash_problem(N_("Choose what to close."))
        return request.redirect("/sharing#close")
    if record:
        # Raises NotFound for a record that the patient does not see.
        await request.gateway.read(*record.partition("/")[::2])
    choice = RestrictionChoice(
        domain=domain,
        record=record,
        recipient=f"organization:{against}" if against else "everyone",
    )
    await request.gateway.create(build_restriction(request.patient, request.now, choice))
    what = request.translate(DOMAIN_TITLES[domain] if domain else N_("This record"))
    if against:
        message = N_(
            "%(what)s: closed to %(name)s from this moment. It still sees what it wrote itself."
        )
        name = str(providers[against].name_in(request.language))
        request.flash(message, what=what, name=name)
    else:
        message = N_(
            "%(what)s: closed to everyone from this moment. Who wrote a record still sees it."
        )
        request.flash(message, what=what)
    return request.redirect(f"/record/item/{record}" if record else "/sharing")


@router.post("/sharing/lift")
async def lift_restriction(request: PatientRequest, form: PatientForm) -> Response:
    """Open again what one restriction closed."""
    consent = await request.gateway.read("Consent", form.get("consent", ""))
    if consent_category(consent) != "restriction":
        raise NotFound("There is no such restriction.")
    await request.gateway.update(deactivate_consent(consent))
    request.flash(N_("It is open again, to those you share your record with."))
    return request.redirect(local_path(form.get("back", "/sharing")))
