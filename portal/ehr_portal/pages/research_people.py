"""Who works with data for research: their affiliation, their training, and what runs out."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import EhrError, Forbidden, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import build_parameters
from ehr_portal.i18n import N_
from ehr_portal.oversight.researchers import STATE_COLOURS, STATE_TITLES, parse_researchers
from ehr_portal.web.forms import FieldError, VerifiedForm, is_day
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
_FIELDS = ("person", "affiliation", "course", "day", "expires")
_FAULTS = {
    "person": N_("There is no account of a researcher of this log-in."),
    "affiliation": N_("Write where they belong."),
    "course": N_("Write the name of the course."),
    "day": N_("Choose the day on which it was taken; it is not to come."),
    "expires": N_("Choose the day on which it expires, after the one it was taken."),
}


@router.get("/research-people")
async def show_people(request: StewardRequest) -> Response:
    """List who works with data, those who may not before the others, and the form of a record."""
    return await _render_people(request, {})


@router.post("/research-people")
async def record_training(request: StewardRequest, form: VerifiedForm) -> Response:
    """Record a training that somebody took."""
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    errors = _find_faults(typed)
    if not errors:
        try:
            await request.gateway.invoke("$record-training", build_parameters(**typed))
        except Forbidden:
            errors = [FieldError("person", N_("Another steward has to record your own training."))]
        except (Invalid, Unprocessable) as refusal:
            errors = [_name_fault(refusal)]
        else:
            request.flash(N_("The training is on record."))
            return request.redirect("/research-people")
    return await _render_people(request, typed, errors)


@router.post("/research-people/withdraw")
async def withdraw_training(request: StewardRequest, form: VerifiedForm) -> Response:
    """Take a course off somebody's record."""
    named = {name: form.get(name, "") for name in ("person", "course")}
    parameters = build_parameters(**named)
    parameters["parameter"].append({"name": "withdraw", "valueBoolean": True})
    try:
        await request.gateway.invoke("$record-training", parameters)
    except Forbidden:
        request.flash_problem(N_("Another steward has to change your own training."))
    except NotFound:
        request.flash_problem(N_("It was taken off a moment ago."))
    else:
        request.flash(N_("The course is off the record."))
    return request.redirect("/research-people")


def _find_faults(typed: Mapping[str, str]) -> list[FieldError]:
    faults = [name for name in ("person", "affiliation", "course") if not typed[name]]
    faults += [name for name in ("day", "expires") if not is_day(typed[name])]
    if not faults and typed["expires"] <= typed["day"]:
        faults.append("expires")
    return [FieldError(name, _FAULTS[name]) for name in faults]


def _name_fault(refusal: EhrError) -> FieldError:
    signs = {"account": "person", "after it was taken.": "day", "affiliation": "affiliation"}
    text = str(refusal)
    name = next((name for sign, name in signs.items() if sign in text), "course")
    return FieldError(name, _FAULTS[name])


async def _render_people(
    request: PortalRequest, typed: Mapping[str, str], errors: list[FieldError] | None = None
) -> Response:
    today = request.now.date()
    people = parse_researchers(await request.gateway.invoke_by_get("$research-people"), today)
    return request.render(
        "research_people.html",
        people=people,
        today=today,
        STATE_TITLES=STATE_TITLES,
        STATE_COLOURS=STATE_COLOURS,
        typed={name: typed.get(name, "") for name in _FIELDS},
        errors=errors or [],
    )
