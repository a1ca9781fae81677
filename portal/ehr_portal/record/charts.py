"""Trends and shares drawn as SVG on the server.

A chart never stands alone: the page has the same numbers as a table. The drawing holds no text
from a record but numbers and dates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record.interpretations import CRITICAL
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
        self, points: Sequence[tuple[str, float]], low: float, high: float
    ) -> list[tuple[float, float]]:
        """Return (x, y) of each point: x by its time, y by its value between `low` and `high`.

        `points`: FHIR dates or instants, and values.
        """
        seconds = [fhir_timestamp(at) for at, _ in points]
        # Results of one moment stand at the left edge.
        span = (seconds[-1] - seconds[0]) or 1.0
        width = self.right - self.left
        return [
            (
                round(self.left + (second - seconds[0]) / span * width, 1),
                round(self.y_of(value, low, high), 1),
            )
            for second, (_, value) in zip(seconds, points, strict=True)
        ]

    def y_of(self, value: float, low: float, high: float) -> float:
        """Return the height of a value between `low` at the bottom and `high` at the top."""
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


_SPARKLINE = _PlotArea(left=6, right=126, top=6, bottom=34)
# Room on the left for the values, below for the days: no label comes near a point.
_CHART = _PlotArea(left=64, right=424, top=34, bottom=164)
# Two values make no trend: what lies between them may have gone either way.
MIN_TREND_POINTS = 3
# Lines across the chart. Chosen: enough to read a value off, few enough for labels of 17 px.
_MOST_TICKS = 5


def draw_sparkline(trend: Trend) -> Markup:
    """Return a small line without axes, beside the printed number; empty without a trend."""
    points = trend.numbers[-MAX_SPARKLINE_POINTS:]
    if len(points) < MIN_TREND_POINTS:
        return Markup("")
    attributes = Markup('aria-hidden="true" focusable="false"')
    return _draw_small_line(attributes, _dated_values(points), *_value_range(points, None, None))


def draw_chart(trend: Trend, label: str, days: tuple[str, str]) -> Markup:
    """Return a chart with reference range, an axis of rounded values, first and last day.

    `label` is read by screen readers; empty where there is no trend.
    """
    points = trend.numbers
    if len(points) < MIN_TREND_POINTS:
        return Markup("")
    ticks = axis_ticks(*_value_range(points, trend.low, trend.high))
    low, high = ticks[0], ticks[-1]
    coordinates = _CHART.coordinates(_dated_values(points), low, high)
    dots = Markup("").join(
        _draw_dot(point, *place, is_last=place is coordinates[-1])
        for point, place in zip(points, coordinates, strict=True)
    )
    days_below = Markup(
        '<text class="ehr-plot-text" x="64" y="190">{}</text>'
        '<text class="ehr-plot-text" x="424" y="190" text-anchor="end">{}</text>'
    ).format(*days)
    return Markup(
        '<svg class="ehr-chart" viewBox="0 0 440 200" role="img" aria-label="{}">{}{}{}'
        '<polyline class="ehr-plot-line" points="{}"/>{}{}</svg>'
    ).format(
        label,
        Markup('<text class="ehr-plot-text" x="4" y="16">{}</text>').format(trend.unit),
        _draw_reference_range(trend, low, high),
        _draw_axis(ticks),
        _polyline_points(coordinates),
        dots,
        days_below,
    )


def axis_ticks(low: float, high: float) -> list[float]:
    """Return rounded values in equal steps that reach from `low` or less to `high` or more.

    >>> axis_ticks(3.62, 7.2)
    [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    >>> axis_ticks(98, 104)
    [98.0, 100.0, 102.0, 104.0]
    """
    rough = (high - low) / (_MOST_TICKS - 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= rough)
    first, last = math.floor(low / step + _ROUNDING), math.ceil(high / step - _ROUNDING)
    return [round(number * step, 10) for number in range(first, last + 1)]


# What a quotient of two decimals may be beside a whole number.
_ROUNDING = 1e-9


def _draw_axis(ticks: Sequence[float]) -> Markup:
    low, high = ticks[0], ticks[-1]
    return Markup("").join(
        Markup(
            '<line class="{}" x1="64" y1="{y}" x2="424" y2="{y}"/>'
            '<text class="ehr-plot-text" x="54" y="{}" text-anchor="end">{}</text>'
        ).format(
            "ehr-plot-axis" if tick == low else "ehr-plot-grid",
            round(_CHART.y_of(tick, low, high) + 5, 1),
            f"{tick:g}",
            y=round(_CHART.y_of(tick, low, high), 1),
        )
        for tick in ticks
    )


def _draw_dot(point: Point, x: float, y: float, *, is_last: bool) -> Markup:
    dot = Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(
        "ehr-plot-dot--last" if is_last else "ehr-plot-dot", x, y, 5 if is_last else 3
    )
    if point.result.level != CRITICAL:
        return dot
    # A ring as well: the word stands in the table, and colour alone tells nobody.
    return dot + Markup('<circle class="ehr-plot-ring" cx="{}" cy="{}" r="9"/>').format(x, y)


def draw_bar(share: float, label: str, *, passed: bool) -> Markup:
    """Return a bar filled by a share of 1, in the colour of whether that is enough."""
    css_class = "ehr-plot-pass" if passed else "ehr-plot-fail"
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" role="img" aria-label="{}">'
        '<rect class="ehr-plot-track" x="0" y="14" width="132" height="12" rx="6"/>'
        '<rect class="{}" x="0" y="14" width="{}" height="12" rx="6"/></svg>'
    ).format(label, css_class, round(132 * max(0.0, min(share, 1.0)), 1))


def draw_amount(amount: float | None, most: float) -> Markup:
    """Return a bar of an amount beside its printed number, as long as `most` is; empty of none."""
    if amount is None or most <= 0:
        return Markup("")
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" aria-hidden="true" focusable="false">'
        '<rect class="ehr-plot-pass" x="0" y="12" width="{}" height="16"/></svg>'
    ).format(round(132 * max(0.0, min(amount / most, 1.0)), 1))


def draw_share_line(trend: Sequence[tuple[str, float]], label: str) -> Markup:
    """Return a line of shares of 1 over time, 0 % at the bottom; empty without a trend."""
    if len(trend) < MIN_TREND_POINTS:
        return Markup("")
    shares = [(at, max(0.0, min(share, 1.0))) for at, share in trend]
    return _draw_small_line(Markup('role="img" aria-label="{}"').format(label), shares, 0.0, 1.0)


def _draw_small_line(
    attributes: Markup, points: Sequence[tuple[str, float]], low: float, high: float
) -> Markup:
    """Return a line through dated values, its last point marked; `attributes` are the SVG's."""
    coordinates = _SPARKLINE.coordinates(points, low, high)
    return Markup(
        '<svg class="ehr-trend" viewBox="0 0 132 40" {}>'
        '<polyline class="ehr-plot-line" points="{}"/>'
        '<circle class="ehr-plot-dot--last" cx="{}" cy="{}" r="4"/></svg>'
    ).format(attributes, _polyline_points(coordinates), *coordinates[-1])


def _dated_values(points: Sequence[Point]) -> list[tuple[str, float]]:
    return [(point.date, point.value or 0.0) for point in points]


def _draw_reference_range(trend: Trend, low: float, high: float) -> Markup:
    if trend.low is None and trend.high is None:
        return Markup("")
    # A range with one limit goes on to the edge.
    top = _CHART.y_of(high if trend.high is None else trend.high, low, high)
    bottom = _CHART.y_of(low if trend.low is None else trend.low, low, high)
    return Markup('<rect class="ehr-plot-range" x="64" y="{}" width="360" height="{}"/>').format(
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
