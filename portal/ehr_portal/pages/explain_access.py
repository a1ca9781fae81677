"""Why somebody can or cannot see something: the rule that decides, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_portal.gateway.operations import parse_multi_parts, parse_values
from ehr_portal.i18n import N_
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES
from ehr_portal.sharing.restrictions import PROFESSION_TITLES
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import PatientRequest

router = APIRouter()
DECISION_TITLES = {"permit": N_("They can see it"), "deny": N_("They cannot see it")}


@dataclass(frozen=True)
class Explanation:
    """The answer of `$explain-access`."""

    # A code of DECISION_TITLES.
    decision: str
    # In the reader's language.
    text: str
    # Whether another account or another person has a say as well.
    involves_others: bool


@router.get("/sharing/why")
async def explain_access(
    request: PatientRequest,
    organization: Annotated[str, Query()] = "",
    profession: Annotated[str, Query()] = "doctor",
    domain: Annotated[str, Query()] = "",
    record: Annotated[str, Query()] = "",
) -> Response:
    """Show the form, and the explanation once an organisation was chosen."""
    providers = {
        provider_id: provider
        for provider_id, provider in (await fetch_providers(request.gateway)).items()
        if not provider.platform
    }
    domain = domain if domain in DOMAIN_TITLES else next(iter(DOMAIN_TITLES))
    profession = profession if profession in PROFESSION_TITLES else "doctor"
    explanation = None
    if organization in providers:
        subject = {"record": record} if record else {"domain": domain}
        explanation = await _fetch_explanation(
            request, organization=organization, profession=profession, **subject
        )
    return request.render(
        "explain_access.html",
        providers=providers,
        organization=organization,
        profession=profession,
        domain=domain,
        record=record,
        explanation=explanation,
        DECISION_TITLES=DECISION_TITLES,
        DOMAIN_TITLES=DOMAIN_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        PROFESSION_TITLES=PROFESSION_TITLES,
    )


async def _fetch_explanation(request: PortalRequest, **question: str) -> Explanation:
    path = f"Patient/{request.patient}/$explain-access"
    try:
        answer = await request.gateway.invoke_by_get(path, **question)
    except Invalid:
        raise NotFound("There is nothing to explain.") from None
    text_by_language = {
        explanation.language: explanation.text
        for explanation in parse_multi_parts(answer, "explanation")
    }
    # Our tags have script and region; those of the explanation the script alone.
    language = next((tag for tag in text_by_language if request.language.startswith(tag)), "en")
    values = parse_values(answer)
    return Explanation(
        decision="".join(values.get("decision", [])),
        text=text_by_language.get(language, ""),
        involves_others="others" in values,
    )
