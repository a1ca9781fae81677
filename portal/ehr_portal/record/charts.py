"""Trends and shares drawn as SVG on the server.

A chart never stands alone: the page has the same numbers as a table. The drawing holds no text
from a record but numbers and dates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.trends import Point, Trend

# The newest points of a sparkline: at 132 units wide, more would be closer than a line's width.
# Chosen by eye.
MAX_SPARKLINE_POINTS = 24


@dataclass(frozen=True)
class _PlotArea:
    """The rectangle that points are drawn in, in units of the SVG's viewBox; y grows downward."""

    left: int
    right: int
    top: int
    bottom: int

    def coordinates(
        self, points: Sequence[Point], low: float, high: float
    ) -> list[tuple[float, float]]:
        """Return (x, y) of each point: x by its time, y by its value between `low` and `high`."""
        seconds = [fhir_timestamp(point.date) for point in points]
        # Results of one moment stand at the left edge.
        span = (seconds[-1] - seconds[0]) or 1.0
        width = self.right - self.left
        return [
            (
                round(self.left + (second - seconds[0]) / span * width, 1),
                round(self.y_of(point.value or 0.0, low, high), 1),
            )
            for second, point in zip(seconds, points, strict=True)
        ]

    def y_of(self, value: float, low: float, high: float) -> float:
        """Return the height of a value between `low` at the bottom and `high` at the top."""
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


_SPARKLINE = _PlotArea(left=6, right=126, top=6, bottom=34)
# Room on the left for the values, below for the days.
_CHART = _PlotArea(left=58, right=382, top=26, bottom=154)


def draw_sparkline(trend: Trend) -> Markup:
    """Return a small line without axes, beside the printed number; empty below two points."""
    points = trend.numbers[-MAX_SPARKLINE_POINTS:]
    if len(points) < 2:
        return Markup("")
    coordinates = _SPARKLINE.coordinates(points, *_value_range(points, None, None))
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" aria-hidden="true" focusable="false">'
        '<polyline class="ehr-plot-line" points="{}"/>'
        '<circle class="ehr-plot-dot--last" cx="{}" cy="{}" r="4"/></svg>'
    ).format(_polyline_points(coordinates), *coordinates[-1])


def draw_chart(trend: Trend, label: str, days: tuple[str, str]) -> Markup:
    """Return a chart with reference range, lowest and highest value, first and last day.

    `label` is read by screen readers; empty below two points.
    """
    points = trend.numbers
    if len(points) < 2:
        return Markup("")
    low, high = _value_range(points, trend.low, trend.high)
    coordinates = _CHART.coordinates(points, low, high)
    dots = Markup("").join(
        Markup('<circle class="ehr-plot-dot" cx="{}" cy="{}" r="3"/>').format(x, y)
        for x, y in coordinates[:-1]
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
    ).format(
        label,
        _draw_reference_range(trend, low, high),
        _polyline_points(coordinates),
        dots,
        *coordinates[-1],
        texts,
    )


def draw_bar(share: float, label: str, *, passed: bool) -> Markup:
    """Return a bar filled by a share of 1, in the colour of whether that is enough."""
    css_class = "ehr-plot-pass" if passed else "ehr-plot-fail"
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" role="img" aria-label="{}">'
        '<rect class="ehr-plot-track" x="0" y="14" width="132" height="12" rx="6"/>'
        '<rect class="{}" x="0" y="14" width="{}" height="12" rx="6"/></svg>'
    ).format(label, css_class, round(132 * max(0.0, min(share, 1.0)), 1))


def _draw_reference_range(trend: Trend, low: float, high: float) -> Markup:
    if trend.low is None or trend.high is None:
        return Markup("")
    top, bottom = _CHART.y_of(trend.high, low, high), _CHART.y_of(trend.low, low, high)
    return Markup('<rect class="ehr-plot-range" x="58" y="{}" width="324" height="{}"/>').format(
        round(top, 1), round(bottom - top, 1)
    )


def _value_range(
    points: Sequence[Point], low: float | None, high: float | None
) -> tuple[float, float]:
    # The reference range is in the picture even where no result reaches it.
    values = [point.value for point in points if point.value is not None]
    bottom = min(values if low is None else [*values, low])
    top = max(values if high is None else [*values, high])
    # Equal values are a level line in the middle.
    return (bottom, top) if top > bottom else (bottom - 1, top + 1)


def _polyline_points(coordinates: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in coordinates)
