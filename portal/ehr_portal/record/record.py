"""A patient's record as one page: its sections, fetched side by side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Forbidden, NotFound
from ehr_portal.gateway.client import Found, Gateway, Resource
from ehr_portal.record.display import Provider, author_id, provider
from ehr_portal.record.rows import Entry, entry
from ehr_portal.record.sections import LEFT, SECTIONS, Section
from ehr_portal.record.trends import Trend, trends

# A long life has thousands of results; past this the oldest are left for the section's own page.
SECTION_LIMIT = 2000
PAGE = "500"


@dataclass(frozen=True)
class Part:
    """One section with what was found in it, newest first."""

    section: Section
    entries: tuple[Entry, ...]
    trends: tuple[Trend, ...]

    @property
    def front(self) -> list[tuple[Entry, int]]:
        """Return the front page's lines, each with how many there are of its name."""
        if not self.section.alike:
            return [(line, 1) for line in self.entries[: self.section.first]]
        counts = Counter(line.title for line in self.entries)
        newest = {line.title: line for line in reversed(self.entries)}
        lines = [line for line in self.entries if newest[line.title] is line]
        return [(line, counts[line.title]) for line in lines[: self.section.first]]

    @property
    def size(self) -> int:
        """Return how many lines the section has in all."""
        return len(self.trends) if self.section.trends else len(self.entries)


@dataclass(frozen=True)
class Risk:
    """A model's score for the patient, with where it came from."""

    outcome: Resource
    probability: float
    when: str
    # The end of the stay the score is about.
    since: str
    method: str
    author: str | None
    # What the model is worth, in its makers' words.
    note: str


@dataclass(frozen=True)
class Record:
    """What the gateway shows this person of a patient."""

    patient: Resource | None
    parts: tuple[Part, ...]
    risks: tuple[Risk, ...]

    @property
    def columns(self) -> tuple[list[Part], list[Part]]:
        """Return the parts of the left and of the right column."""
        left = [part for part in self.parts if part.section.key in LEFT]
        return left, [part for part in self.parts if part.section.key not in LEFT]

    @property
    def empty(self) -> bool:
        """Return whether nothing at all is visible."""
        return self.patient is None and not any(part.size for part in self.parts)


async def whole_record(gateway: Gateway, patient: str, language: str) -> Record:
    """Fetch every section of a patient's record."""
    person, risks, parts = await asyncio.gather(
        patient_or_none(gateway, patient),
        risk_scores(gateway, patient),
        asyncio.gather(*(part_of(gateway, patient, part, language) for part in SECTIONS)),
    )
    return Record(person, tuple(parts), risks)


async def part_of(gateway: Gateway, patient: str, section: Section, language: str) -> Part:
    """Fetch one section."""
    params = {"patient": patient, "_count": PAGE, **section.params}
    found = await _none_if_forbidden(gateway.search_all(section.type, params, limit=SECTION_LIMIT))
    if section.trends:
        return Part(section, (), tuple(trends(found.matches, language)))
    lines = [entry(resource, found.included, language) for resource in found.matches]
    # What holds now comes first, then the newest.
    lines.sort(key=lambda line: line.when, reverse=True)
    lines.sort(key=lambda line: (not line.current, not line.weighty))
    return Part(section, tuple(lines), ())


async def patient_or_none(gateway: Gateway, patient: str) -> Resource | None:
    """Return the Patient, or None where it is not shown."""
    try:
        return await gateway.read("Patient", patient)
    except NotFound:
        return None


async def risk_scores(gateway: Gateway, patient: str) -> tuple[Risk, ...]:
    """Return the newest score of each outcome."""
    found = await _none_if_forbidden(
        gateway.search("RiskAssessment", {"patient": patient, "_count": "50"})
    )
    newest: dict[str, Risk] = {}
    scored = [
        _risk(resource, prediction)
        for resource in found.matches
        for prediction in resource.get("prediction", ())
        if "probabilityDecimal" in prediction
    ]
    for risk in sorted(scored, key=lambda risk: (risk.when, risk.since)):
        newest[str(risk.outcome)] = risk
    return tuple(newest.values())


async def providers(gateway: Gateway) -> dict[str, Provider]:
    """Return every organisation by id."""
    found = await gateway.search_all("Organization", {"_count": PAGE}, limit=SECTION_LIMIT)
    return {organization["id"]: provider(organization) for organization in found.matches}


async def consents(gateway: Gateway, patient: str) -> list[Resource]:
    """Return every choice of a patient, in force or not."""
    params = {"patient": patient, "_count": PAGE}
    return list((await gateway.search_all("Consent", params, limit=SECTION_LIMIT)).matches)


def _risk(resource: Resource, prediction: Mapping[str, Any]) -> Risk:
    method = resource.get("method", {})
    return Risk(
        outcome=prediction.get("outcome", {}),
        probability=float(prediction["probabilityDecimal"]),
        when=str(resource.get("occurrenceDateTime", "")),
        since=_since(prediction),
        method=str(method.get("text") or _first_display(method)),
        author=author_id(resource),
        note=" ".join(str(note.get("text", "")) for note in resource.get("note", ())),
    )


def _since(prediction: Mapping[str, Any]) -> str:
    return str(prediction.get("whenPeriod", {}).get("start", ""))


def _first_display(value: Mapping[str, Any]) -> str:
    codings: Sequence[Mapping[str, Any]] = value.get("coding", ())
    return str(next((c["display"] for c in codings if c.get("display")), ""))


async def _none_if_forbidden(search: Any) -> Found:
    # A token without the scope for one kind of record still shows the others.
    try:
        found: Found = await search
    except (Forbidden, NotFound):
        return Found((), {}, 0, None)
    return found
