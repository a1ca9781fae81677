"""Results of the same test as one line over time, drawn as SVG on the server.

A chart never stands alone: the page has the same numbers as a table. The drawing holds no text
from a record but numbers and dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from markupsafe import Markup

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import day_start
from ehr_portal.record.display import Text, author_id, concept
from ehr_portal.record.rows import observed, when

# A few points say what the line says; more would only blur at this size.
SPARK_POINTS = 24


@dataclass(frozen=True)
class Point:
    """One result."""

    type: str
    id: str
    when: str
    value: float | None
    shown: Text
    author: str | None


@dataclass(frozen=True)
class Trend:
    """All results of one test, oldest first."""

    code: str
    title: Text
    points: tuple[Point, ...]
    low: float | None
    high: float | None

    @property
    def last(self) -> Point:
        """Return the newest result."""
        return self.points[-1]

    @property
    def numbers(self) -> tuple[Point, ...]:
        """Return the results that can be drawn."""
        return tuple(point for point in self.points if point.value is not None)


def trends(observations: Iterable[Resource], language: str) -> list[Trend]:
    """Group observations by test, the most recently measured first."""
    groups: dict[str, list[Resource]] = {}
    for observation in observations:
        codings = observation.get("code", {}).get("coding", [{}])
        code = codings[0].get("code") or observation.get("code", {}).get("text", "")
        groups.setdefault(code, []).append(observation)
    found = [_trend(code, group, language) for code, group in groups.items()]
    # Alike in time, the test with the longer story first.
    return sorted(found, key=lambda t: (t.last.when[:10], len(t.points)), reverse=True)


def sparkline(trend: Trend) -> Markup:
    """Return a small line without axes; decoration beside the printed number."""
    points = trend.numbers[-SPARK_POINTS:]
    if len(points) < 2:
        return Markup("")
    places = _places(points, 132, 40, 6, *_bounds(points, None, None))
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" aria-hidden="true" focusable="false">'
        '<polyline class="ehr-plot-line" points="{}"/>'
        '<circle class="ehr-plot-dot--last" cx="{}" cy="{}" r="4"/></svg>'
    ).format(_joined(places), *places[-1])


def chart(trend: Trend, label: str, days: tuple[str, str]) -> Markup:
    """Return a chart with its range, its lowest and highest value and first and last day."""
    points = trend.numbers
    if len(points) < 2:
        return Markup("")
    low, high = _bounds(points, trend.low, trend.high)
    places = _places(points, 440, 180, 58, low, high)
    dots = Markup("").join(
        Markup('<circle class="ehr-plot-dot" cx="{}" cy="{}" r="3"/>').format(x, y)
        for x, y in places[:-1]
    )
    texts = Markup(
        '<text class="ehr-plot-text" x="4" y="31">{}</text>'
        '<text class="ehr-plot-text" x="4" y="158">{}</text>'
        '<text class="ehr-plot-text" x="58" y="175">{}</text>'
        '<text class="ehr-plot-text" x="382" y="175" text-anchor="end">{}</text>'
    ).format(f"{high:g}", f"{low:g}", *days)
    return Markup(
        '<svg class="ehr-chart" viewBox="0 0 440 180" role="img" aria-label="{}">{}'
        '<line class="ehr-plot-axis" x1="58" y1="154" x2="382" y2="154"/>'
        '<polyline class="ehr-plot-line" points="{}"/>{}'
        '<circle class="ehr-plot-dot--last" cx="{}" cy="{}" r="5"/>{}</svg>'
    ).format(label, _range(trend, low, high), _joined(places), dots, *places[-1], texts)


def bar(share: float, label: str, *, passed: bool) -> Markup:
    """Return a bar filled by a share of 1, in the colour of whether that is enough."""
    kind = "ehr-plot-pass" if passed else "ehr-plot-fail"
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" role="img" aria-label="{}">'
        '<rect class="ehr-plot-track" x="0" y="14" width="132" height="12" rx="6"/>'
        '<rect class="{}" x="0" y="14" width="{}" height="12" rx="6"/></svg>'
    ).format(label, kind, round(132 * max(0.0, min(share, 1.0)), 1))


def _trend(code: str, group: Sequence[Resource], language: str) -> Trend:
    ordered = sorted(group, key=lambda o: when(o)[0])
    limits: Resource = next(
        (o["referenceRange"][0] for o in reversed(ordered) if o.get("referenceRange")), {}
    )
    return Trend(
        code=code,
        title=concept(ordered[-1].get("code"), language),
        points=tuple(_point(observation, language) for observation in ordered),
        low=limits.get("low", {}).get("value"),
        high=limits.get("high", {}).get("value"),
    )


def _point(observation: Resource, language: str) -> Point:
    value = observation.get("valueQuantity", {}).get("value")
    if value is None and observation.get("component"):
        # Of a blood pressure the upper value is drawn; the table gives both.
        upper = [
            part["valueQuantity"].get("value")
            for part in observation["component"]
            if "valueQuantity" in part
            and any(c.get("code") == "8480-6" for c in part["code"].get("coding", ()))
        ]
        value = upper[0] if upper else None
    return Point(
        type=observation["resourceType"],
        id=observation["id"],
        when=when(observation)[0],
        value=None if value is None else float(value),
        shown=observed(observation, language),
        author=author_id(observation),
    )


def _bounds(points: Sequence[Point], low: float | None, high: float | None) -> tuple[float, float]:
    values = [point.value for point in points if point.value is not None]
    bottom = min(values if low is None else [*values, low])
    top = max(values if high is None else [*values, high])
    return (bottom, top) if top > bottom else (bottom - 1, top + 1)


def _places(
    points: Sequence[Point], width: int, height: int, margin: int, low: float, high: float
) -> list[tuple[float, float]]:
    days = [datetime.fromisoformat(_full(point.when)).timestamp() for point in points]
    span = (days[-1] - days[0]) or 1.0
    # The big chart keeps room below for its days.
    floor = height - (26 if margin > 10 else margin)
    top = 26 if margin > 10 else margin
    return [
        (
            round(margin + (day - days[0]) / span * (width - 2 * margin), 1),
            round(floor - ((point.value or 0.0) - low) / (high - low) * (floor - top), 1),
        )
        for day, point in zip(days, points, strict=True)
    ]


def _range(trend: Trend, low: float, high: float) -> Markup:
    if trend.low is None or trend.high is None:
        return Markup("")
    scale = (154 - 26) / (high - low)
    top, bottom = 154 - (trend.high - low) * scale, 154 - (trend.low - low) * scale
    return Markup('<rect class="ehr-plot-range" x="58" y="{}" width="324" height="{}"/>').format(
        round(top, 1), round(bottom - top, 1)
    )


def _joined(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


def _full(value: str) -> str:
    # A FHIR date may stop at the year or the month; naive and aware times must not meet.
    whole = {4: f"{value}-01-01", 7: f"{value}-01"}.get(len(value), value) or "1970-01-01"
    return whole if len(whole) > 10 else day_start(date.fromisoformat(whole))
