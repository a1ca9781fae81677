"""Forecasts of attendances and beds by hospital: what is served, by whom it was made, and why."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_portal.i18n import N_
from ehr_portal.oversight.forecasts import (
    CONTROLLED_FILE,
    FORECAST_TITLES,
    FORECASTER_TITLES,
    Forecast,
    find_served,
    parse_forecast,
)
from ehr_portal.oversight.model_charts import draw_forecast, draw_key
from ehr_portal.oversight.models import Model, ModelVersion
from ehr_portal.pages.models import ModelReaderRequest, fetch_models
from ehr_portal.record.record import fetch_providers
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/forecasts", N_("Forecasts"), 50),)


@router.get("/forecasts")
async def show_forecasts(request: ModelReaderRequest) -> Response:
    """Show the newest forecast of each task."""
    models = await fetch_models(request)
    forecasts = await asyncio.gather(
        *(
            _fetch_forecast(request, model, version)
            for model in models
            if (version := find_served(model)) is not None
        )
    )
    providers = await fetch_providers(request.gateway)
    names = {key: each.name_in(request.language).text for key, each in providers.items()}
    return request.render(
        "forecasts.html",
        forecasts=forecasts,
        providers=providers,
        names=names,
        FORECAST_TITLES=FORECAST_TITLES,
        FORECASTER_TITLES=FORECASTER_TITLES,
        draw_forecast=draw_forecast,
        draw_key=draw_key,
    )


async def _fetch_forecast(request: PortalRequest, model: Model, version: ModelVersion) -> Forecast:
    content, _ = await request.gateway.download(
        "$model-file", task=model.task, version=version.number, file=CONTROLLED_FILE
    )
    return parse_forecast(model, version, content)
