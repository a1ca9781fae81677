"""Erasures: asked for by one person, approved by a second, with the certificate of each."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound, Unprocessable
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.erasures import parse_erasures
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import (
    OVERSEER_ROLES,
    ContainmentRequest,
    OverseerRequest,
    StewardRequest,
)

router = APIRouter()
NAVIGATION = tuple(NavigationLink(role, "/erasures", N_("Erasures"), 47) for role in OVERSEER_ROLES)
DECISION_TITLES = {"approve": N_("Approve: the record is deleted at once"), "refuse": N_("Refuse")}
LINKED_TITLES = {
    "": N_("There are no linked accounts"),
    "include": N_("Erase all linked accounts of the person"),
    "leave": N_("Erase this account alone"),
}
_FIELDS = ("patient", "reason", "linked", "sure")
_REASON_MISSING = FieldError("reason", N_("Write the reason, without naming the person."))
_LINKED_UNSAID = FieldError(
    "linked", N_("The person has linked accounts: say what becomes of them.")
)


@router.get("/erasures")
async def show_erasures(request: OverseerRequest) -> Response:
    """List the erasures, and show the form to ask for one."""
    return await _render_erasures(request, {})


@router.post("/erasures")
async def ask_for_erasure(request: ContainmentRequest, form: VerifiedForm) -> Response:
    """Ask for the erasure of a patient."""
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    if not typed["patient"]:
        error = FieldError("patient", N_("Write the number of the record."))
        return await _render_erasures(request, typed, error)
    if not typed["sure"]:
        error = FieldError("sure", N_("Tick the box: an erasure cannot be undone."))
        return await _render_erasures(request, typed, error)
    parameters = build_parameters(reason=dash_if_empty(typed["reason"]), linked=typed["linked"])
    try:
        await request.gateway.invoke(f"Patient/{typed['patient']}/$purge", parameters)
    except NotFound:
        error = FieldError("patient", N_("Nobody has a record of this number."))
    except Conflict:
        error = FieldError("patient", N_("This erasure is asked for already."))
    except Unprocessable as problem:
        error = _LINKED_UNSAID if "linked" in str(problem) else _REASON_MISSING
    except Invalid:
        error = _REASON_MISSING
    else:
        request.flash(N_("The erasure is asked for. A second person has to approve it."))
        return request.redirect("/erasures")
    return await _render_erasures(request, typed, error)


@router.get("/erasures/{erasure_id}")
async def show_erasure(request: OverseerRequest, erasure_id: str) -> Response:
    """Show one erasure with its certificate, and to a steward the form of the decision."""
    return await _render_erasure(request, erasure_id)


@router.post("/erasures/{erasure_id}")
async def decide_erasure(request: StewardRequest, erasure_id: str, form: VerifiedForm) -> Response:
    """Approve an erasure, or refuse it."""
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    if decision not in DECISION_TITLES:
        error = FieldError("decision", N_("Choose what you decide."))
        return await _render_erasure(request, erasure_id, decision, reason, error)
    parameters = build_parameters(
        erasure=erasure_id, decision=decision, reason=dash_if_empty(reason)
    )
    try:
        await request.gateway.invoke("$decide-erasure", parameters)
    except Forbidden:
        error = FieldError("decision", N_("You asked for it: another person has to decide."))
        return await _render_erasure(request, erasure_id, decision, reason, error)
    except Invalid:
        return await _render_erasure(request, erasure_id, decision, reason, _REASON_MISSING)
    request.flash(N_("Your decision is on record."))
    return request.redirect(f"/erasures/{erasure_id}")


async def _render_erasures(
    request: PortalRequest, typed: dict[str, str], error: FieldError | None = None
) -> Response:
    answer = await request.gateway.invoke_by_get("$erasures")
    return request.render(
        "erasures.html",
        erasures=parse_erasures(answer),
        typed={name: typed.get(name, "") for name in _FIELDS},
        may_ask=request.user.role != "auditor",
        LINKED_TITLES=LINKED_TITLES,
        errors=[error] if error else [],
    )


async def _render_erasure(
    request: PortalRequest,
    erasure_id: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    answer = await request.gateway.invoke_by_get("$erasures")
    erasures = parse_erasures(answer)
    erasure = next((erasure for erasure in erasures if erasure.id == erasure_id), None)
    if erasure is None:
        raise NotFound("There is no such erasure.")
    return request.render(
        "erasure.html",
        erasure=erasure,
        may_decide=request.user.role == "steward" and erasure.state == "proposed",
        decision=decision,
        reason=reason,
        DECISION_TITLES=DECISION_TITLES,
        errors=[error] if error else [],
    )
