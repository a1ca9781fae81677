"""A patient's record on one screen, for the clinician: what holds now and what is newest.

Each block fetches only what it may show and what has to be known for that: all allergies and
problems, the orders in use, the newest results, visits and documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.display import NO_TEXT, Phrase, Text
from ehr_portal.record.medicine_rules import MedicineCheck, check_medicines
from ehr_portal.record.news2_observations import (
    CONTEXT_CODES,
    News2Assessment,
    assess_news2,
    list_scale_decisions,
)
from ehr_portal.record.record import (
    SearchesOfOnePage,
    SectionContent,
    build_section,
    usual_ranges,
)
from ehr_portal.record.risk_scores import RiskScore, current_risk_scores
from ehr_portal.record.sections import SECTION_BY_KEY, Search, Section
from ehr_portal.record.trends import RECENT_CRITICAL, group_into_trends

# Results that are read to find the newest of each test. Chosen: some days of an intensive ward's
# blood tests and rounds.
_RESULTS_READ = 60
# Further pages are read until RECENT_CRITICAL is covered, up to so many results. Chosen.
_MAX_RESULTS_READ = 600
_VISITS_READ = 8
_DOCUMENTS_READ = 6
# The states in which an order or statement may be in effect.
_IN_USE = "active,on-hold,unknown"
_STATED_IN_USE = "active,on-hold,unknown,intended"


def _with_searches(key: str, *searches: Search, preview_size: int | None) -> Section:
    return replace(
        SECTION_BY_KEY[key], searches=searches, preview_size=preview_size, groups_titles=False
    )


ALERTS = SECTION_BY_KEY["alerts"]
ALLERGIES = SECTION_BY_KEY["allergies"]
PROBLEMS = replace(SECTION_BY_KEY["problems"], preview_size=9)
MEDICINES = _with_searches(
    "medicines",
    # A second order of the same medicine is a line of its own: it may be a mistake.
    Search("MedicationRequest", {"status": _IN_USE, "_include": "MedicationRequest:medication"}),
    Search(
        "MedicationStatement",
        {"status": _STATED_IN_USE, "_include": "MedicationStatement:medication"},
    ),
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
    news2 = assess_news2(
        [*vital_signs.matches, *context.matches],
        str((patient_resource or {}).get("birthDate", "")),
        now,
        [row.resource for row in problems.current],
    )
    usual = usual_ranges(patient_resource)
    if usual is not None:
        usual = replace(usual, scale_decisions=list_scale_decisions(context.matches))

    def content_of(section: Section, found: _Observations) -> SectionContent:
        return SectionContent(
            section,
            trends=tuple(group_into_trends(found.matches, language, now, usual)),
            is_unavailable=found.is_unavailable,
            is_incomplete=found.is_incomplete,
            total=found.total,
            now=now,
        )

    return Overview(
        patient=patient_resource,
        alerts=alerts,
        allergies=allergies,
        problems=problems,
        medicines=medicines,
        medicine_check=await _check_orders(searches, allergies, now),
        vitals=content_of(VITALS, vital_signs),
        results=content_of(RESULTS, laboratory),
        news2=news2,
        visits=visits,
        reports=reports,
        documents=documents,
        risk_scores=current_risk_scores(risks.matches if risks else (), now),
    )


@dataclass(frozen=True)
class _Observations:
    """Observations of one search."""

    matches: Sequence[Resource]
    is_unavailable: bool = False
    total: int | None = None
    is_incomplete: bool = False


async def _fetch_observations(
    searches: SearchesOfOnePage, now: datetime
) -> tuple[_Observations, _Observations, _Observations]:
    """Return laboratory results, vital signs, and what NEWS2 has to know besides."""
    laboratory, vital_signs, context = await asyncio.gather(
        _fetch_newest(searches, {"category": "laboratory"}, now),
        _fetch_newest(searches, {"category": "vital-signs"}, now),
        searches.results(Search("Observation", {"code": CONTEXT_CODES}, newest=10)),
    )
    return laboratory, vital_signs, _Observations(context.matches if context else ())


async def _fetch_newest(
    searches: SearchesOfOnePage, params: dict[str, str], now: datetime
) -> _Observations:
    """Return the newest results, at least those among which a critical one stands first."""
    found = await searches.results(
        Search("Observation", params, newest=_RESULTS_READ, has_total=True)
    )
    if found is None:
        return _Observations((), is_unavailable=True)
    recent = (now - RECENT_CRITICAL).timestamp()
    is_cut = found.next_link is not None and _oldest(found.matches) > recent
    if is_cut:
        more = await searches.results(Search("Observation", params, newest=_MAX_RESULTS_READ))
        # The first search has counted.
        found = replace(more, total=found.total) if more else found
    return _Observations(
        found.matches,
        total=found.total,
        is_incomplete=found.next_link is not None and _oldest(found.matches) > recent,
    )


def _oldest(observations: Sequence[Resource]) -> float:
    times = [fhir_timestamp(str(o.get("effectiveDateTime", ""))) for o in observations]
    return min((time for time in times if time), default=0.0)


async def _check_orders(
    searches: SearchesOfOnePage, allergies: SectionContent, now: datetime
) -> MedicineCheck:
    """Check the orders in use; their section has sent the searches already."""
    answers = [await searches.results(search) for search in MEDICINES.searches]
    found = [answer for answer in answers if answer is not None]
    included = {key: resource for answer in found for key, resource in answer.included.items()}
    orders = [order for answer in found for order in answer.matches]
    return check_medicines(orders, [row.resource for row in allergies.rows], included, now)
