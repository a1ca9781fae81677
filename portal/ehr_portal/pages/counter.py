"""Consent by counter: a steward records what a patient says on paper."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound, PreconditionFailed
from ehr_portal.gateway.operations import build_parameters
from ehr_portal.i18n import N_
from ehr_portal.record.display import PersonName, person_name
from ehr_portal.record.identity_card import parse_identity_number
from ehr_portal.record.record import fetch_consents, fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.sharing.paper_choices import CHOICE_TITLES, PaperChoice, write_choice
from ehr_portal.sharing.switches import sharing_switches
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/counter", N_("At the counter"), 22),)
_FIELDS = ("choice", "organization", "domain", "paper", "seen")
_MIN_PAPER_LENGTH = 5


@dataclass(frozen=True)
class CounterPatient:
    """Who stands at the counter, as the platform knows them."""

    id: str
    name: PersonName
    birth_date: str


@router.get("/counter")
async def show_counter(request: StewardRequest, card: Annotated[str, Query()] = "") -> Response:
    """Show the form for a card number or, with the handle of one, the person and the choices."""
    number = request.session.resolve_handle(card) if card else None
    if number is None:
        return _render_search(request)
    return await _render_choices(request, card, number, {})


@router.post("/counter")
async def find_person(request: StewardRequest, form: VerifiedForm) -> Response:
    """Keep the card number in the session, so that it stands in no address."""
    number = parse_identity_number(form.get("hkid", ""))
    if number is None:
        return _render_search(request, FieldError("hkid", N_("Type the number of the card.")))
    return request.redirect(f"/counter?card={request.session.issue_handle(number)}")


@router.post("/counter/record")
async def record_choice(request: StewardRequest, form: VerifiedForm) -> Response:
    """Write the Consents of the choice in the patient's name; the gateway tells the patient."""
    card = form.get("card", "")
    number = request.session.resolve_handle(card)
    if number is None:
        request.flash_problem(N_("Type the number of the card again."))
        return request.redirect("/counter")
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    person, providers = await asyncio.gather(
        _fetch_person(request, number), fetch_providers(request.gateway)
    )
    provider = providers.get(typed["organization"])
    choice = PaperChoice(typed["choice"], typed["paper"][:200], provider, typed["domain"])
    if error := _find_error(choice, typed):
        return await _render_choices(request, card, number, typed, error)
    consents = await fetch_consents(request.gateway, person.id)
    writes = write_choice(choice, consents, person.id, request.now)
    try:
        for consent in writes:
            await request.gateway.save(consent)
    except PreconditionFailed:
        request.flash_problem(N_("It was changed elsewhere meanwhile. Look again."))
        return request.redirect(f"/counter?card={card}")
    except Invalid:
        error = FieldError("choice", N_("This choice cannot be recorded."))
        return await _render_choices(request, card, number, typed, error)
    if writes:
        request.flash(N_("The choice is recorded. It holds from now on, and the patient is told."))
    else:
        request.flash(N_("This was so already: nothing was changed."))
    return request.redirect(f"/counter?card={card}")


def _find_error(choice: PaperChoice, typed: Mapping[str, str]) -> FieldError | None:
    if choice.choice not in CHOICE_TITLES:
        return FieldError("choice", N_("Choose what the form says."))
    if choice.lacks_provider or (choice.provider and choice.provider.platform):
        return FieldError("organization", N_("Choose the hospital or clinic."))
    if choice.choice == "close" and choice.domain not in DOMAIN_TITLES:
        return FieldError("domain", N_("Choose the kind of records."))
    if len(choice.paper) < _MIN_PAPER_LENGTH:
        return FieldError("paper", N_("Name the form and its date, so that it can be found."))
    if not typed["seen"]:
        return FieldError(
            "seen", N_("Compare the card and the signature first, then tick the box.")
        )
    return None


async def _fetch_person(request: PortalRequest, number: str) -> CounterPatient:
    answer = await request.gateway.invoke("Patient/$counter-patient", build_parameters(hkid=number))
    parameters = answer.get("parameter", ())
    reference = next(
        part["valueReference"]["reference"] for part in parameters if part["name"] == "patient"
    )
    names = [part["valueHumanName"] for part in parameters if part["name"] == "name"]
    born = next((part["valueString"] for part in parameters if part["name"] == "born"), "")
    return CounterPatient(reference.removeprefix("Patient/"), person_name({"name": names}), born)


def _render_search(request: PortalRequest, error: FieldError | None = None) -> Response:
    return request.render(
        "counter.html",
        errors=[error] if error else [],
    )


async def _render_choices(
    request: PortalRequest,
    card: str,
    number: str,
    typed: Mapping[str, str],
    error: FieldError | None = None,
) -> Response:
    try:
        person = await _fetch_person(request, number)
    except NotFound:
        text = N_("Nobody, or more than one person, has this number here.")
        return _render_search(request, FieldError("hkid", text))
    consents, providers = await asyncio.gather(
        fetch_consents(request.gateway, person.id), fetch_providers(request.gateway)
    )
    return request.render(
        "counter_choice.html",
        patient=person,
        card=card,
        switches=sharing_switches(providers.values(), consents, request.now),
        providers={key: value for key, value in providers.items() if not value.platform},
        typed={name: typed.get(name, "") for name in _FIELDS},
        errors=[error] if error else [],
        CHOICE_TITLES=CHOICE_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
    )
