"""Apps: what is offered to the reader, what they allowed, the launch from a record, approval."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.apps import App, ConnectedApp, parse_apps, parse_connected_apps
from ehr_portal.pages.record_views import fetch_person
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.headers import SCRIPT_POLICY, allow_form_targets
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AppUserRequest, ClinicianRequest, StewardRequest

router = APIRouter()
NAVIGATION = (
    *(NavigationLink(role, "/apps", N_("Apps"), 65) for role in ("patient", "carer", "clinician")),
    NavigationLink("steward", "/apps/review", N_("Apps"), 43),
)
ROLE_TITLES = {
    "clinician": N_("Clinicians, from an open record"),
    "patient": N_("Patients, for their own record"),
    "carer": N_("Carers, for the person they choose"),
}
APPROVAL_TITLES = {
    "waiting": N_("Waits for a decision"),
    "approved": N_("Approved"),
    "refused": N_("Refused"),
}


@router.get("/apps")
async def show_apps(request: AppUserRequest) -> Response:
    """Show the apps that are offered to the reader, and those that have their permission."""
    apps, connected = await asyncio.gather(_fetch_apps(request), _fetch_connected(request))
    return request.render(
        "apps.html",
        apps=apps,
        connected=connected,
        # A clinician starts an app from a record that is open.
        starts_alone=request.user.role != "clinician",
        issuer=request.portal.settings.fhir_base,
    )


@router.post("/apps/end")
async def end_permission(request: AppUserRequest, form: VerifiedForm) -> Response:
    """Take back what the reader allowed an app."""
    parameters = build_parameters(app=dash_if_empty(form.get("app", "")))
    try:
        await request.gateway.invoke("$disconnect-app", parameters)
        request.flash(N_("The app has no access any more, from this moment."))
    except NotFound:
        request.flash_problem(N_("This permission was over already."))
    return request.redirect("/apps")


@router.get("/patients/{patient}/apps")
async def show_apps_of_record(request: ClinicianRequest, patient: str) -> Response:
    """Show the apps that can be launched on an open record."""
    person, apps = await asyncio.gather(fetch_person(request, patient), _fetch_apps(request))
    if person is None:
        raise NotFound("Nothing of this record is shared with the reader.")
    base = f"/patients/{patient}"
    response = request.render("record_apps.html", base=base, person=person, apps=apps)
    # The answer to the form leads to the app, whose pages may lie elsewhere.
    origins = sorted({app.origin for app in apps if app.origin})
    response.headers["Content-Security-Policy"] = allow_form_targets(SCRIPT_POLICY, origins)
    return response


@router.post("/patients/{patient}/apps")
async def launch_app(request: ClinicianRequest, patient: str, form: VerifiedForm) -> Response:
    """Launch an app on an open record: a handle for this reader, record and app, good once."""
    client = form.get("app", "")
    app = next((one for one in await _fetch_apps(request) if one.client == client), None)
    if app is None:
        raise NotFound("This app is not offered to the reader.")
    try:
        launch = await request.gateway.create_launch(patient, app.client)
    except NotFound:
        request.flash_problem(
            N_("No app can be started on this record: what is open in an emergency is for you.")
        )
        return request.redirect(f"/patients/{patient}/apps")
    return RedirectResponse(app.launch_address(request.portal.settings.fhir_base, launch), 303)


@router.get("/apps/review")
async def show_review(request: StewardRequest) -> Response:
    """Show every app, those that wait first."""
    return await _render_review(request)


@router.post("/apps/review")
async def decide_app(request: StewardRequest, form: VerifiedForm) -> Response:
    """Approve an app for some roles, or refuse it."""
    approves = form.get("decision") == "approve"
    roles = [role for role in ROLE_TITLES if approves and form.get(f"role-{role}")]
    parameters = build_parameters(
        client=dash_if_empty(form.get("client", "")),
        decision="approve" if approves else "refuse",
        role=roles,
        reason=dash_if_empty(form.get("reason", "").strip()),
    )
    if approves and not roles:
        return await _render_review(request, FieldError("role", N_("Choose who may use it.")))
    try:
        await request.gateway.invoke("$decide-app", parameters)
    except (Conflict, NotFound):
        request.flash_problem(N_("There is no such app any more."))
        return request.redirect("/apps/review")
    except Invalid:
        return await _render_review(request, FieldError("reason", N_("Write the reason.")))
    request.flash(N_("The decision holds from now on."))
    return request.redirect("/apps/review")


async def _render_review(request: PortalRequest, error: FieldError | None = None) -> Response:
    order = list(APPROVAL_TITLES)
    apps = await _fetch_apps(request)
    return request.render(
        "review_apps.html",
        apps=sorted(apps, key=lambda app: (order.index(app.approval), app.name)),
        ROLE_TITLES=ROLE_TITLES,
        APPROVAL_TITLES=APPROVAL_TITLES,
        errors=[error] if error else [],
    )


async def _fetch_apps(request: PortalRequest) -> list[App]:
    return parse_apps(await request.gateway.invoke_by_get("$apps", language=request.language))


async def _fetch_connected(request: PortalRequest) -> list[ConnectedApp]:
    return parse_connected_apps(
        await request.gateway.invoke_by_get("$connected-apps", language=request.language)
    )
