"""Weeks of a model in use, and the coming days of a forecast, drawn as SVG on the server.

A chart never stands alone: the page has the same numbers as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from markupsafe import Markup

from ehr_portal.oversight.forecasts import HospitalForecast
from ehr_portal.record.charts import axis_ticks

__all__ = ["draw_forecast", "draw_key", "draw_weeks"]

Point = tuple[str, float]
# The area of the points in units of the viewBox; room on the left for values, below for days.
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 424, 12, 164
# In the order of the lines of a chart: told apart by dashes too, never by colour alone.
_LINES = ("ehr-plot-line", "ehr-plot-line ehr-plot-line--second")


def draw_weeks(
    lines: Sequence[Sequence[Point]],
    label: str,
    days: tuple[str, str],
    *,
    limit: float | None = None,
) -> Markup:
    """Return a chart of one or two lines of dated values, with a dashed line at a limit.

    `label` is read by screen readers, `days` stand at the ends. Empty without two points.
    """
    dates = [day for line in lines for day, _ in line]
    if len(set(dates)) < 2:
        return Markup("")
    values = [value for line in lines for _, value in line] + [0.0]
    ticks = axis_ticks(0.0, max([*values, *([limit] if limit else [])]) or 1.0)
    span = (min(dates), max(dates))
    drawn = Markup("").join(
        _draw_line(line, css_class, span, ticks)
        for line, css_class in zip(lines, _LINES, strict=False)
    )
    return _draw_chart(ticks, label, days, _draw_limit(limit, ticks) + drawn)


def draw_forecast(forecast: HospitalForecast, label: str, days: tuple[str, str]) -> Markup:
    """Return a chart of the median within both intervals; empty where too little may be shown."""
    shown = [day for day in forecast.days if None not in (day.median, *day.likely, *day.possible)]
    if len(shown) < 2:
        return Markup("")
    span = (forecast.days[0].day, forecast.days[-1].day)
    ends = [day.possible for day in shown]
    low, high = min(end[0] or 0 for end in ends), max(end[1] or 0 for end in ends)
    # From 0, unless that would flatten the days of a large hospital.
    ticks = axis_ticks(0 if low < high / 2 or low == high else low, high or 1)
    bands = Markup("").join(
        Markup('<polygon class="{}" points="{}"/>').format(
            css_class,
            _format_points(
                [_place(day, value or 0, span, ticks) for day, (value, _) in band]
                + [_place(day, value or 0, span, ticks) for day, (_, value) in reversed(band)]
            ),
        )
        for css_class, band in (
            ("ehr-plot-band", [(day.day, day.possible) for day in shown]),
            ("ehr-plot-band ehr-plot-band--inner", [(day.day, day.likely) for day in shown]),
        )
    )
    line = _draw_line([(day.day, day.median or 0) for day in shown], _LINES[0], span, ticks)
    return _draw_chart(ticks, label, days, bands + line)


def draw_key(css_class: str) -> Markup:
    """Return a sample of what a word beside it names: a line, or with `ehr-plot-band` an area."""
    shape = (
        Markup('<rect class="{}" x="0" y="1" width="28" height="12"/>')
        if "band" in css_class
        else Markup('<line class="{}" x1="0" y1="7" x2="28" y2="7"/>')
    )
    return Markup(
        '<svg class="ehr-plot-key" viewBox="0 0 28 14" aria-hidden="true" focusable="false">'
        "{}</svg>"
    ).format(shape.format(css_class))


def _draw_chart(ticks: Sequence[float], label: str, days: tuple[str, str], drawn: Markup) -> Markup:
    axis = Markup("").join(
        Markup(
            '<line class="{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>'
            '<text class="ehr-plot-text" x="{}" y="{}" text-anchor="end">{}</text>'
        ).format(
            "ehr-plot-axis" if tick == ticks[0] else "ehr-plot-grid",
            _LEFT,
            _RIGHT,
            _LEFT - 10,
            round(_y(tick, ticks) + 5, 1),
            f"{tick:g}",
            y=_y(tick, ticks),
        )
        for tick in ticks
    )
    return Markup(
        '<svg class="ehr-chart" viewBox="0 0 440 196" role="img" aria-label="{}">{}{}'
        '<text class="ehr-plot-text" x="{}" y="188">{}</text>'
        '<text class="ehr-plot-text" x="{}" y="188" text-anchor="end">{}</text></svg>'
    ).format(label, axis, drawn, _LEFT, days[0], _RIGHT, days[1])


def _draw_line(
    points: Sequence[Point], css_class: str, span: tuple[str, str], ticks: Sequence[float]
) -> Markup:
    places = [_place(day, value, span, ticks) for day, value in points]
    return Markup('<polyline class="{}" points="{}"/>').format(css_class, _format_points(places))


def _draw_limit(limit: float | None, ticks: Sequence[float]) -> Markup:
    if limit is None:
        return Markup("")
    return Markup('<line class="ehr-plot-limit" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
        _LEFT, _RIGHT, y=_y(limit, ticks)
    )


def _place(
    day: str, value: float, span: tuple[str, str], ticks: Sequence[float]
) -> tuple[float, float]:
    first, last = (date.fromisoformat(end) for end in span)
    share = (date.fromisoformat(day) - first).days / ((last - first).days or 1)
    return round(_LEFT + share * (_RIGHT - _LEFT), 1), _y(value, ticks)


def _y(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)


def _format_points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
