"""Why somebody can or cannot see something: the rule that decides, in plain words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_portal.gateway.operations import steps, values
from ehr_portal.i18n import N_
from ehr_portal.pages.patient_record import own
from ehr_portal.record.record import providers
from ehr_portal.record.sections import DOMAINS, KINDS
from ehr_portal.sharing.restrictions import PROFESSIONS
from ehr_portal.web.request import Page, PatientPage

router = APIRouter()
ANSWERS = {"permit": N_("They can see it"), "deny": N_("They cannot see it")}


@router.get("/sharing/why")
async def why(
    page: PatientPage,
    organization: Annotated[str, Query()] = "",
    profession: Annotated[str, Query()] = "doctor",
    domain: Annotated[str, Query()] = "",
    record: Annotated[str, Query()] = "",
) -> Response:
    """Ask about an organisation and a kind of records, or a single one."""
    known = {name: one for name, one in (await providers(page.gateway)).items() if not one.platform}
    domain = domain if domain in DOMAINS else next(iter(DOMAINS))
    profession = profession if profession in PROFESSIONS else "doctor"
    answer, text, others = "", "", False
    if organization in known:
        about = {"record": record} if record else {"domain": domain}
        answer, text, others = await _explained(
            page, organization=organization, profession=profession, **about
        )
        text = text.replace(organization, str(known[organization].name(page.language)))
    return page.render(
        "why.html",
        known=known,
        organization=organization,
        profession=profession,
        domain=domain,
        record=record,
        answer=answer,
        text=text,
        others=others,
        ANSWERS=ANSWERS,
        DOMAINS=DOMAINS,
        KINDS=KINDS,
        PROFESSIONS=PROFESSIONS,
    )


async def _explained(page: Page, **question: str) -> tuple[str, str, bool]:
    try:
        told = await page.gateway.ask(f"Patient/{own(page)}/$explain-access", **question)
    except Invalid:
        raise NotFound("There is nothing to explain.") from None
    texts = {one.language: one.text for one in steps(told, "explanation")}
    # Tags name a script and a region, where the explanation knows the script alone.
    language = next((tag for tag in texts if page.language.startswith(tag)), "en")
    found = values(told)
    return "".join(found.get("decision", [])), texts.get(language, ""), "others" in found
