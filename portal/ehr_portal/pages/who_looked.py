"""Who looked: every access to the patient's record, as visits in plain words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.i18n import N_
from ehr_portal.oversight.access_history import (
    OPERATION_TITLES,
    PURPOSE_TITLES,
    REASON_TITLES,
    ROLE_TITLES,
    Visit,
    VisitPage,
    parse_visits,
)
from ehr_portal.oversight.event_search import day_params
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import PatientRequest

router = APIRouter()
NAVIGATION = (
    NavigationLink("patient", "/who-looked", N_("Who looked"), 40),
    NavigationLink(
        "carer", "/who-looked", N_("Who looked"), 40, lambda user: user.acts_for_patient
    ),
)
# The extension of a Consent that holds what a clinician typed.
ACCESS_REASON = f"{JURISDICTION.fhir_base}/StructureDefinition/access-reason"


@router.get("/who-looked")
async def show_visits(
    request: PatientRequest,
    older: Annotated[str, Query()] = "",
    mine: Annotated[str, Query()] = "",
    organization: Annotated[str, Query()] = "",
    person: Annotated[str, Query()] = "",
    domain: Annotated[str, Query()] = "",
    first_day: Annotated[str, Query(alias="from")] = "",
    last_day: Annotated[str, Query(alias="to")] = "",
) -> Response:
    """Show visits, newest first, all or those that pass the filters.

    `older` is the handle of a next link, `mine` whether the patient's own visits are shown.
    """
    filters = {
        "organization": organization, "person": person, "domain": domain, "from": first_day,
        "to": last_day,
    }  # fmt: skip
    (page, next_handle), providers = await asyncio.gather(
        _fetch_visits(request, older, filters, include_own=bool(mine)),
        fetch_providers(request.gateway),
    )
    active_filters = {name: value for name, value in filters.items() if value}
    here = active_filters | ({"mine": mine} if mine else {})
    return request.render(
        "who_looked.html",
        visits=page.visits,
        older=next_handle,
        typed_reasons=await _fetch_typed_reasons(request, page.visits),
        is_first_page=not older,
        mine=bool(mine),
        providers=providers,
        filters=filters,
        is_filtered=bool(active_filters),
        path_with_mine=_path(active_filters | {"mine": "1"}),
        path_without_mine=_path(active_filters),
        path_of_newest=_path(here),
        path_of_person=lambda login: _path({"person": login}),
        DOMAIN_TITLES=DOMAIN_TITLES,
        OPERATION_TITLES=OPERATION_TITLES,
        REASON_TITLES=REASON_TITLES,
        ROLE_TITLES=ROLE_TITLES,
        PURPOSE_TITLES=PURPOSE_TITLES,
    )


def _path(query: Mapping[str, str]) -> str:
    return f"/who-looked?{urlencode(query)}" if query else "/who-looked"


async def _fetch_visits(
    request: PortalRequest, older: str, filters: Mapping[str, str], *, include_own: bool
) -> tuple[VisitPage, str]:
    """Return a page of visits, and the handle of the next one if there is one."""
    kept = request.session.resolve_handle(older) if older else None
    params = parse_qsl(kept) if kept else _search_params(filters, include_own=include_own)
    path = f"Patient/{request.patient}/$access-history"
    page = parse_visits(await request.gateway.invoke_by_query(path, params))
    if not page.next_cursor:
        return page, ""
    following = [pair for pair in params if pair[0] != "_cursor"] + [("_cursor", page.next_cursor)]
    return page, request.session.issue_handle(urlencode(following))


async def _fetch_typed_reasons(
    request: PortalRequest, visits: Iterable[Visit]
) -> Mapping[str, str]:
    """Return what was typed as the reason of an emergency or a request, by the Consent's id."""
    consents = dict.fromkeys(consent for visit in visits for consent in visit.consents)
    if not consents:
        return {}
    found = await request.gateway.search("Consent", {"_id": ",".join(consents)})
    return {
        str(consent["id"]): str(extension["valueString"])
        for consent in found.matches
        for extension in consent.get("extension", ())
        if extension.get("url") == ACCESS_REASON and "valueString" in extension
    }


def _search_params(filters: Mapping[str, str], *, include_own: bool) -> list[tuple[str, str]]:
    """Return the parameters of `$access-history`; what is no day or domain filters nothing."""
    params = [("own", "true")] if include_own else []
    if filters["person"]:
        params.append(("login", filters["person"]))
    if filters["organization"]:
        params.append(("organization", filters["organization"]))
    if filters["domain"] in DOMAIN_TITLES:
        params.append(("domain", filters["domain"]))
    return params + day_params(filters["from"], filters["to"])
