"""Observations of the same test as one series over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import Text, concept_text
from ehr_portal.record.providers import author_organization
from ehr_portal.record.rows import SYSTOLIC, event_period, observation_value


@dataclass(frozen=True)
class Point:
    """One result."""

    resource_type: str
    id: str
    # A FHIR date of any precision.
    date: str
    # What is drawn; None where the result is no number.
    value: float | None
    # What is printed.
    text: Text
    author: str | None


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
    def newest(self) -> Point:
        """Return the newest result."""
        return self.points[-1]

    @property
    def numbers(self) -> tuple[Point, ...]:
        """Return the results that can be drawn."""
        return tuple(point for point in self.points if point.value is not None)


def group_into_trends(observations: Iterable[Resource], language: str) -> list[Trend]:
    """Group observations by test, the most recently measured first."""
    by_code: dict[str, list[Resource]] = {}
    for observation in observations:
        codings = observation.get("code", {}).get("coding", [{}])
        code = codings[0].get("code") or observation.get("code", {}).get("text", "")
        by_code.setdefault(code, []).append(observation)
    trends = [_build_trend(code, group, language) for code, group in by_code.items()]
    # Of tests measured on the same day, the one with more results first.
    return sorted(
        trends, key=lambda trend: (trend.newest.date[:10], len(trend.points)), reverse=True
    )


def _build_trend(code: str, observations: Sequence[Resource], language: str) -> Trend:
    ordered = sorted(observations, key=lambda observation: event_period(observation)[0])
    newest_first = reversed(ordered)
    limits: Resource = next(
        (
            observation["referenceRange"][0]
            for observation in newest_first
            if observation.get("referenceRange")
        ),
        {},
    )
    return Trend(
        code=code,
        title=concept_text(ordered[-1].get("code"), language),
        points=tuple(_parse_point(observation, language) for observation in ordered),
        low=limits.get("low", {}).get("value"),
        high=limits.get("high", {}).get("value"),
    )


def _parse_point(observation: Resource, language: str) -> Point:
    value = observation.get("valueQuantity", {}).get("value")
    if value is None:
        value = _systolic_value(observation)
    return Point(
        resource_type=observation["resourceType"],
        id=observation["id"],
        date=event_period(observation)[0],
        value=None if value is None else float(value),
        text=observation_value(observation, language),
        author=author_organization(observation),
    )


def _systolic_value(observation: Resource) -> float | None:
    # Of a blood pressure the upper value is drawn; the table gives both.
    for component in observation.get("component", ()):
        codes = {coding.get("code") for coding in component["code"].get("coding", ())}
        if "valueQuantity" in component and SYSTOLIC in codes:
            value: float | None = component["valueQuantity"].get("value")
            return value
    return None
