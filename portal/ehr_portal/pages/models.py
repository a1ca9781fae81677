"""Models: which scores, how good it is, who decided so, and what has changed since."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.forecasts import FORECAST_TITLES
from ehr_portal.oversight.model_charts import draw_key, draw_weeks
from ehr_portal.oversight.model_gates import PREDICTOR_TITLES
from ehr_portal.oversight.models import (
    ACTION_TITLES,
    ALARM_TITLES,
    GRADE_COLOURS,
    GRADE_TITLES,
    LARGE_PSI,
    METRIC_TITLES,
    Model,
    parse_models,
)
from ehr_portal.pages.research_runs import send_file
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import AuditReaderRequest, require_role

router = APIRouter()
READER_ROLES = ("steward", "auditor", "researcher")
NAVIGATION = tuple(NavigationLink(role, "/models", N_("Models"), 49) for role in READER_ROLES)
ModelReaderRequest = Annotated[PortalRequest, Depends(require_role(*READER_ROLES))]
Task = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Number = Annotated[str, Path(pattern=r"^[0-9]{1,9}$")]
FileName = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
ACTIONS = {
    "promote": N_("Let it score: propose it, or confirm what somebody else has proposed"),
    "shadow": N_("Let it score in shadow: nobody is shown what it says"),
    "end-shadow": N_("End the shadow"),
    "roll-back": N_("Roll back to the version that scored before, or to none"),
}
_OF_A_VERSION = ("promote", "shadow")


@router.get("/models")
async def show_models(request: ModelReaderRequest) -> Response:
    """List the models; what waits for somebody stands first."""
    models = await fetch_models(request)
    return request.render(
        "models.html",
        models=sorted(models, key=lambda model: not model.waits),
        FORECAST_TITLES=FORECAST_TITLES,
        GRADE_TITLES=GRADE_TITLES,
    )


@router.get("/models/{task}")
async def show_model(request: ModelReaderRequest, task: Task) -> Response:
    """Show a model: its versions beside their gates, decisions, alarms."""
    return await _render(request, task)


@router.post("/models/{task}")
async def decide(request: AuditReaderRequest, form: VerifiedForm, task: Task) -> Response:
    """Promote a version, put one in shadow, end it, or roll back."""
    action, version = form.get("decision", ""), form.get("version", "")
    reason = form.get("reason", "").strip()
    error = await _decide(request, task, action, version, reason)
    if error is None:
        request.flash(N_("Your decision is on record."))
        return request.redirect(f"/models/{task}")
    typed = {"decision": action, "version": version, "reason": reason}
    return await _render(request, task, typed, error)


@router.get("/models/{task}/versions/{number}/{name}")
async def show_file(
    request: ModelReaderRequest, task: Task, number: Number, name: FileName
) -> Response:
    """Show the page of a version, or send another of its files to be kept."""
    content, media = await request.gateway.download(
        "$model-file", task=task, version=number, file=name
    )
    if not name.endswith(".html"):
        return send_file(content, media, f"{task}-{number}-{name}")
    headers = {
        # The page has its own styles and pictures, and nothing of it may run or reach elsewhere.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
        " sandbox",
    }
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


async def _decide(
    request: PortalRequest, task: str, action: str, version: str, reason: str
) -> FieldError | None:
    if action not in ACTIONS:
        return FieldError("decision", N_("Choose what you decide."))
    if action in _OF_A_VERSION and not version:
        return FieldError("version", N_("Choose a version."))
    parameters = build_parameters(
        task=task,
        action=action,
        version=version if action in _OF_A_VERSION else None,
        reason=dash_if_empty(reason),
    )
    try:
        await request.gateway.invoke("$decide-model", parameters)
    except Conflict:
        return FieldError(
            "decision",
            N_(
                "That cannot be done: a gate is not met, another person has to confirm it, or it is"
                " so already."
            ),
        )
    except Forbidden:
        return FieldError("decision", N_("This is not for you to decide."))
    except (Invalid, NotFound):
        return FieldError("reason", N_("Give a reason of a few words."))
    return None


async def _render(
    request: PortalRequest,
    task: str,
    typed: dict[str, str] | None = None,
    error: FieldError | None = None,
) -> Response:
    model = next((one for one in await fetch_models(request) if one.task == task), None)
    if model is None:
        raise NotFound("There is no such model.")
    return request.render(
        "model.html",
        model=model,
        actions=ACTIONS,
        typed=typed or {},
        errors=[] if error is None else [error],
        ACTION_TITLES=ACTION_TITLES,
        ALARM_TITLES=ALARM_TITLES,
        FORECAST_TITLES=FORECAST_TITLES,
        GRADE_COLOURS=GRADE_COLOURS,
        GRADE_TITLES=GRADE_TITLES,
        LARGE_PSI=LARGE_PSI,
        METRIC_TITLES=METRIC_TITLES,
        PREDICTOR_TITLES=PREDICTOR_TITLES,
        draw_key=draw_key,
        draw_weeks=draw_weeks,
        psi_line=[(week.monday, week.psi) for week in model.weeks],
        expected_line=[(week.monday, 100 * week.expected) for week in model.weeks],
        observed_line=[
            (week.monday, 100 * week.observed) for week in model.weeks if week.observed is not None
        ],
        may_decide=request.user.role in ("steward", "auditor") and not model.is_forecast,
        status=200 if error is None else 422,
    )


async def fetch_models(request: PortalRequest) -> list[Model]:
    """Return the models; none where the platform is served without them."""
    try:
        answer = await request.gateway.invoke_by_get("$models", language=request.language)
    except Unavailable:
        return []
    return parse_models(answer)
