"""A patient's record on one screen, for the clinician: what holds now and what is newest.

Each block fetches only what it may show and what has to be known for that: all allergies and
problems, the orders in use, the newest results, visits and documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ehr_fhir.errors import EhrError
from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.gateway.operations import parse_multi_parts
from ehr_portal.record.display import NO_TEXT, Phrase, Text
from ehr_portal.record.medicine_rules import MedicineCheck, check_medicines
from ehr_portal.record.news2_observations import (
    CONTEXT_CODES,
    News2Assessment,
    assess_news2,
    list_earlier_rounds,
    list_scale_decisions,
)
from ehr_portal.record.record import (
    NewestResults,
    SearchesOfOnePage,
    build_section,
    fetch_newest_results,
    usual_ranges,
)
from ehr_portal.record.risk_scores import RiskScore, current_risk_scores, keep_scoring
from ehr_portal.record.section_content import SectionContent
from ehr_portal.record.sections import MEDICINES_IN_USE, SECTION_BY_KEY, Search, Section

_VISITS_READ = 8
_DOCUMENTS_READ = 6


def _with_searches(key: str, *searches: Search, preview_size: int | None) -> Section:
    return replace(
        SECTION_BY_KEY[key], searches=searches, preview_size=preview_size, groups_titles=False
    )


ALERTS = SECTION_BY_KEY["alerts"]
ALLERGIES = SECTION_BY_KEY["allergies"]
PROBLEMS = replace(SECTION_BY_KEY["problems"].first_page, preview_size=9)
MEDICINES = _with_searches(
    "medicines",
    # All of them, for the check. A second order of the same medicine is a line of its own: it may
    # be a mistake.
    *(Search(search.resource_type, search.params) for search in MEDICINES_IN_USE),
    preview_size=9,
)
VITALS = replace(SECTION_BY_KEY["measurements"], preview_size=9)
RESULTS = replace(SECTION_BY_KEY["results"], preview_size=12)
VISITS = _with_searches(
    "visits", Search("Encounter", newest=_VISITS_READ, has_total=True), preview_size=6
)
REPORTS = _with_searches(
    "reports", Search("DiagnosticReport", newest=_DOCUMENTS_READ, has_total=True), preview_size=3
)
DOCUMENTS = _with_searches(
    "documents", Search("DocumentReference", newest=_DOCUMENTS_READ, has_total=True), preview_size=3
)


@dataclass(frozen=True)
class Overview:
    """What the clinician's first screen shows of a record."""

    # None where the personal details are not shared.
    patient: Resource | None
    alerts: SectionContent
    allergies: SectionContent
    problems: SectionContent
    medicines: SectionContent
    medicine_check: MedicineCheck
    vitals: SectionContent
    results: SectionContent
    news2: News2Assessment
    # Of the rounds in the day before, the latest first.
    earlier_news2: tuple[News2Assessment, ...]
    visits: SectionContent
    reports: SectionContent
    documents: SectionContent
    risk_scores: tuple[RiskScore, ...]

    def medicine_name(self, order: Resource) -> Phrase | Text:
        """Return what the medicine of an order in use is called."""
        rows = (row for row in self.medicines.rows if row.resource is order)
        return next((row.title for row in rows), NO_TEXT)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing at all is visible."""
        contents = (self.alerts, self.allergies, self.problems, self.medicines, self.visits)
        return (
            self.patient is None
            and not (self.vitals.trends or self.results.trends or self.risk_scores)
            and not any(
                content.size or content.none_known
                for content in (*contents, self.reports, self.documents)
            )
        )


async def fetch_overview(
    gateway: GatewayClient, patient: str, language: str, now: datetime
) -> Overview:
    """Fetch what the first screen shows, most of it together."""
    searches = SearchesOfOnePage(gateway, patient)
    sections, observations, risks, patient_resource = await asyncio.gather(
        asyncio.gather(
            *(
                build_section(searches, section, language, now)
                for section in (
                    ALERTS,
                    ALLERGIES,
                    MEDICINES,
                    PROBLEMS,
                    VISITS,
                    REPORTS,
                    DOCUMENTS,
                )
            )
        ),
        _fetch_observations(searches, now),
        searches.results(Search("RiskAssessment", newest=50)),
        searches.patient(),
    )
    alerts, allergies, medicines, problems, visits, reports, documents = sections
    laboratory, vital_signs, context = observations
    signs = [*vital_signs.matches, *context]
    birth_date = str((patient_resource or {}).get("birthDate", ""))
    conditions = [row.resource for row in problems.current]
    news2 = assess_news2(signs, birth_date, now, conditions)
    usual = usual_ranges(patient_resource)
    if usual is not None:
        usual = replace(usual, scale_decisions=list_scale_decisions(context))

    return Overview(
        patient=patient_resource,
        alerts=alerts,
        allergies=allergies,
        problems=problems,
        medicines=medicines,
        medicine_check=await _check_orders(searches, allergies, now),
        vitals=vital_signs.content(VITALS, language, now, usual),
        results=laboratory.content(RESULTS, language, now, usual),
        news2=news2,
        earlier_news2=list_earlier_rounds(news2, signs, birth_date, conditions),
        visits=visits,
        reports=reports,
        documents=documents,
        risk_scores=await _keep_scoring(
            gateway, current_risk_scores(risks.matches if risks else (), now)
        ),
    )


async def _keep_scoring(
    gateway: GatewayClient, scores: tuple[RiskScore, ...]
) -> tuple[RiskScore, ...]:
    """Return the scores of versions that score now: asked anew each time, where there is one."""
    if not scores:
        return ()
    try:
        answer = await gateway.invoke_by_get("$scoring-models")
    except EhrError:
        # Without knowing that it stands no score is shown.
        return ()
    models = parse_multi_parts(answer, "model")
    return keep_scoring(scores, {model.task: model.version for model in models})


async def _fetch_observations(
    searches: SearchesOfOnePage, now: datetime
) -> tuple[NewestResults, NewestResults, Sequence[Resource]]:
    """Return laboratory results, vital signs, and what NEWS2 has to know besides."""
    laboratory, vital_signs, context = await asyncio.gather(
        fetch_newest_results(searches, {"category": "laboratory"}, now),
        fetch_newest_results(searches, {"category": "vital-signs"}, now),
        searches.results(Search("Observation", {"code": CONTEXT_CODES}, newest=10)),
    )
    return laboratory, vital_signs, context.matches if context else ()


async def _check_orders(
    searches: SearchesOfOnePage, allergies: SectionContent, now: datetime
) -> MedicineCheck:
    """Check the orders in use; their section has sent the searches already."""
    answers = [await searches.results(search) for search in MEDICINES.searches]
    found = [answer for answer in answers if answer is not None]
    included = {key: resource for answer in found for key, resource in answer.included.items()}
    orders = [order for answer in found for order in answer.matches]
    return check_medicines(orders, [row.resource for row in allergies.rows], included, now)
