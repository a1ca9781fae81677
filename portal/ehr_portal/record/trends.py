"""Observations of the same test as one series over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp, local_date
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.display import Text, concept_text, printed_unit
from ehr_portal.record.interpretations import CRITICAL, LEVELS
from ehr_portal.record.providers import author_organization, written_by_patient
from ehr_portal.record.results import SYSTOLIC, ResultValue, whole_result
from ehr_portal.record.rows import event_period
from ehr_portal.record.usual_ranges import UsualRanges

# A critical result stands before newer ones for a week; chosen. Later it stands at its own date,
# so that it never pushes today's results away.
RECENT_CRITICAL = timedelta(days=7)
# Results that do not count: shown in the table with the word, never drawn, never the newest.
_VOID_STATUSES = frozenset({"entered-in-error", "cancelled"})
# Statuses of a result that a reader has to know.
_TELLING_STATUSES = frozenset(
    {"preliminary", "registered", "amended", "corrected", "cancelled", "entered-in-error"}
)


@dataclass(frozen=True)
class Point:
    """One result; its printed form is worked out when it is asked for."""

    observation: Resource
    language: str
    # A FHIR date of any precision.
    date: str
    # What is drawn; None where the result is no number, or is in another unit than the newest.
    value: float | None
    # What is usual for the patient.
    usual: UsualRanges | None

    @property
    def resource_type(self) -> str:
        """Return the type of the record."""
        return str(self.observation["resourceType"])

    @property
    def id(self) -> str:
        """Return the id of the record."""
        return str(self.observation["id"])

    @cached_property
    def result(self) -> ResultValue:
        """Return the value with its flags and ranges."""
        return whole_result(self.observation, self.language, self.usual)

    @property
    def text(self) -> Text:
        """Return the printed value."""
        return self.result.text

    @property
    def author(self) -> str | None:
        """Return the id of the organisation that wrote it."""
        return author_organization(self.observation)

    @property
    def status_text(self) -> Text:
        """Return the status where a reader has to know it, else an empty text."""
        status = self.observation.get("status", "")
        telling = status if status in _TELLING_STATUSES else ""
        return code_text("Observation.status", telling, self.language)

    @property
    def is_own_entry(self) -> bool:
        """Return whether the patient measured it and wrote it down."""
        return written_by_patient(self.observation)

    @property
    def is_void(self) -> bool:
        """Return whether the result does not count."""
        return self.observation.get("status") in _VOID_STATUSES


@dataclass(frozen=True)
class Trend:
    """All results of one test, oldest first."""

    code: str
    title: Text
    points: tuple[Point, ...]
    # The reference range of the newest result that has one.
    low: float | None
    high: float | None

    @property
    def unit(self) -> str:
        """Return the unit of what is drawn, as it is printed; empty where there is none."""
        drawn = next(reversed(self.numbers), None)
        if drawn is None:
            return ""
        quantity = drawn.observation.get("valueQuantity") or _systolic(drawn.observation)
        return printed_unit(str(quantity.get("unit") or quantity.get("code") or ""))

    @property
    def is_blood_pressure(self) -> bool:
        """Return whether the upper value of two is drawn."""
        return any(_systolic(point.observation) for point in self.numbers)

    @property
    def newest(self) -> Point:
        """Return the newest result that counts; the newest of all where none does."""
        return next((p for p in reversed(self.points) if not p.is_void), self.points[-1])

    @property
    def numbers(self) -> tuple[Point, ...]:
        """Return the results that can be drawn."""
        return tuple(point for point in self.points if point.value is not None)

    def is_critical_now(self, now: datetime | None) -> bool:
        """Return whether the newest result is critical and no older than RECENT_CRITICAL."""
        if self.newest.result.level != CRITICAL or self.newest.is_void or now is None:
            return False
        return self.newest.date[:10] >= local_date(now - RECENT_CRITICAL).isoformat()


def group_into_trends(
    observations: Iterable[Resource],
    language: str,
    now: datetime | None = None,
    usual: UsualRanges | None = None,
) -> list[Trend]:
    """Group observations by test: critical and recent first, then the most recently measured."""
    # What patients measured at home stands apart from what was measured in a hospital.
    by_code: dict[tuple[bool, str, str], list[Resource]] = {}
    for observation in observations:
        key = (written_by_patient(observation), *_test_code(observation))
        by_code.setdefault(key, []).append(observation)
    trends = [_build_trend(code, group, language, usual) for (*_, code), group in by_code.items()]
    # Of tests measured on the same day the more serious, then the one with more results, first.
    trends.sort(key=lambda trend: (LEVELS.index(trend.newest.result.level), -len(trend.points)))
    trends.sort(key=lambda trend: trend.newest.date[:10], reverse=True)
    return sorted(trends, key=lambda trend: not trend.is_critical_now(now))


def _test_code(observation: Resource) -> tuple[str, str]:
    concept = observation.get("code", {})
    coding: Resource = next(iter(concept.get("coding", ())), {})
    code = coding.get("code") or concept.get("text", "")
    return str(coding.get("system", "")), str(code)


def _build_trend(
    code: str, observations: Sequence[Resource], language: str, usual: UsualRanges | None
) -> Trend:
    ordered = sorted(observations, key=lambda o: fhir_timestamp(event_period(o)[0]))
    newest_first = [o for o in reversed(ordered) if o.get("status") not in _VOID_STATUSES]
    limits: Resource = next(
        (o["referenceRange"][0] for o in newest_first if o.get("referenceRange")), {}
    )
    unit = next((_unit(o) for o in newest_first if _number(o) is not None), "")
    return Trend(
        code=code,
        title=concept_text(ordered[-1].get("code"), language),
        points=tuple(_parse_point(observation, unit, language, usual) for observation in ordered),
        low=limits.get("low", {}).get("value"),
        high=limits.get("high", {}).get("value"),
    )


def _parse_point(
    observation: Resource, unit: str, language: str, usual: UsualRanges | None
) -> Point:
    value = _number(observation)
    is_void = observation.get("status") in _VOID_STATUSES
    is_drawn = value is not None and not is_void and _unit(observation) == unit
    day = event_period(observation)[0]
    return Point(observation, language, day, value if is_drawn else None, usual)


def _number(observation: Resource) -> float | None:
    value = observation.get("valueQuantity", {}).get("value")
    if value is None:
        value = _systolic(observation).get("value")
    return None if value is None else float(value)


def _unit(observation: Resource) -> str:
    quantity = observation.get("valueQuantity") or _systolic(observation)
    return str(quantity.get("code") or quantity.get("unit") or "")


def _systolic(observation: Resource) -> Resource:
    # Of a blood pressure the upper value is drawn; the table gives both.
    for component in observation.get("component", ()):
        codes = {coding.get("code") for coding in component["code"].get("coding", ())}
        if "valueQuantity" in component and SYSTOLIC in codes:
            quantity: Resource = component["valueQuantity"]
            return quantity
    return {}
