"""Plots as SVG that stand in a page by themselves: lines over two axes, and intervals by group.

Colours are the page's (`--ehr-series-N`), so they follow its theme; each line has a dash pattern of
its own, to be told apart without colour. A plot never stands alone: the page has its numbers as a
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_WIDTH, _HEIGHT = 480, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 50
_DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 2", "1 3")
_ROW = 30
_GROUP_LABEL = 150
# Where the text of a legend's entry begins, and how wide its letters are at 14 px.
_LEGEND_TEXT, _LETTER_WIDTH, _HAN_WIDTH, _FIRST_HAN = 36, 7.5, 14.0, 0x2E7F


@dataclass(frozen=True)
class Line:
    """One line of a plot: its points, and at each a vertical bar (low, high) if there are any."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    has_line: bool = True
    has_marks: bool = False


@dataclass(frozen=True)
class Axes:
    """What the axes are called and how far they go."""

    x_label: str
    y_label: str
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    # A reference line from corner to corner, such as that of perfect calibration.
    has_diagonal: bool = False


def draw_lines(lines: Sequence[Line], axes: Axes, title: str) -> Markup:
    """Draw lines with axes, ticks and a legend; `title` is the text for who does not see it."""
    parts = [_draw_axes(axes)]
    if axes.has_diagonal:
        low, high = max(axes.x[0], axes.y[0]), min(axes.x[1], axes.y[1])
        parts.append(
            f'<path class="plot-reference" d="M{_x(low, axes)} {_y(low, axes)}'
            f'L{_x(high, axes)} {_y(high, axes)}"/>'
        )
    for number, line in enumerate(lines):
        parts.append(_draw_line(line, axes, number))
    columns = _count_legend_columns(lines)
    legend_height = 22 * -(-len(lines) // columns)
    parts.append(_draw_legend(lines, columns))
    return _wrap(_WIDTH, _HEIGHT + legend_height, title, parts)


def draw_intervals(
    rows: Sequence[tuple[str, float, float, float]], x_label: str, title: str, reference: float
) -> Markup:
    """Draw one row per (label, value, low, high), with a line at the reference."""
    low = min([reference, *(row[2] for row in rows)])
    high = max([reference, *(row[3] for row in rows)])
    span = max(high - low, 0.02)
    axes = Axes(x_label, "", (low - 0.05 * span, high + 0.05 * span))
    height = _ROW * len(rows) + _BOTTOM + 10
    base = height - _BOTTOM

    def x(value: float) -> str:
        share = (value - axes.x[0]) / (axes.x[1] - axes.x[0])
        return f"{_GROUP_LABEL + share * (_WIDTH - _GROUP_LABEL - _RIGHT):.1f}"

    parts = [f'<path class="plot-reference" d="M{x(reference)} 4V{base}"/>']
    for tick in find_ticks(*axes.x):
        parts.append(
            f'<path class="plot-grid" d="M{x(tick)} 4V{base}"/>'
            f'<text x="{x(tick)}" y="{base + 18}" text-anchor="middle">{tick:g}</text>'
        )
    for number, (label, value, lower, upper) in enumerate(rows):
        y = _ROW * number + 20
        parts.append(
            f'<text x="{_GROUP_LABEL - 10}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
            f'<path class="plot-bar" d="M{x(lower)} {y}H{x(upper)}"/>'
            f'<circle class="plot-mark" cx="{x(value)}" cy="{y}" r="4"/>'
        )
    middle = (_GROUP_LABEL + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return _wrap(_WIDTH, height, title, parts)


def find_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, three to seven of them.

    >>> find_ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    size = 10.0 ** (int(f"{span:e}".split("e")[1]) - 1)
    step = next(size * each for each in (2, 2.5, 5, 10, 20, 25, 50) if span / (size * each) <= 6)
    first = -(-low // step)
    ticks: list[float] = []
    while (first + len(ticks)) * step <= high + 1e-9 * span:
        ticks.append(round((first + len(ticks)) * step, 10) + 0.0)
    return ticks


def _draw_axes(axes: Axes) -> str:
    parts = []
    for tick in find_ticks(*axes.x):
        x = _x(tick, axes)
        parts.append(
            f'<path class="plot-grid" d="M{x} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    for tick in find_ticks(*axes.y):
        y = _y(tick, axes)
        parts.append(
            f'<path class="plot-grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">'
        f"{escape(axes.x_label)}</text>"
        f'<text transform="rotate(-90 14 {middle})" x="14" y="{middle}" text-anchor="middle">'
        f"{escape(axes.y_label)}</text>"
    )
    return "".join(parts)


def _draw_line(line: Line, axes: Axes, number: int) -> str:
    series = number % len(_DASHES)
    inside = [
        (_x(x, axes), _y(min(max(y, axes.y[0]), axes.y[1]), axes))
        for x, y in zip(line.x, line.y, strict=True)
        if y is not None
    ]
    parts = []
    if line.has_line and inside:
        parts.append(_draw_path(series, "M" + "L".join(f"{x} {y}" for x, y in inside)))
    for x, low, high in zip(line.x, line.low, line.high, strict=False):
        if low is not None and high is not None:
            bottom, top = max(low, axes.y[0]), min(high, axes.y[1])
            parts.append(
                f'<path class="plot-whisker series-{series}" '
                f'd="M{_x(x, axes)} {_y(bottom, axes)}V{_y(top, axes)}"/>'
            )
    if line.has_marks:
        parts += [_draw_mark(series, x, y) for x, y in inside]
    return "".join(parts)


def _draw_path(series: int, path: str) -> str:
    dashes = f' stroke-dasharray="{_DASHES[series]}"' if _DASHES[series] else ""
    return f'<path class="plot-line series-{series}"{dashes} d="{path}"/>'


def _draw_mark(series: int, x: str, y: str) -> str:
    return f'<circle class="plot-mark series-{series}" cx="{x}" cy="{y}" r="4"/>'


def _count_legend_columns(lines: Sequence[Line]) -> int:
    """Return 2 where each label has room in half of the width, else 1."""
    widest = max((_estimate_width(line.label) for line in lines), default=0.0)
    return 2 if widest <= (_WIDTH - _LEFT) / 2 - _LEGEND_TEXT else 1


def _estimate_width(text: str) -> float:
    """Return about how wide a text is drawn: a Chinese character is as wide as it is high."""
    return sum(_HAN_WIDTH if ord(letter) > _FIRST_HAN else _LETTER_WIDTH for letter in text)


def _draw_legend(lines: Sequence[Line], columns: int) -> str:
    parts = []
    for number, line in enumerate(lines):
        x = _LEFT + (number % columns) * (_WIDTH - _LEFT) / 2
        y = _HEIGHT + 12 + 22 * (number // columns)
        series = number % len(_DASHES)
        if line.has_line:
            parts.append(_draw_path(series, f"M{x} {y}h28"))
        if line.has_marks:
            parts.append(_draw_mark(series, str(x + 14), str(y)))
        parts.append(f'<text x="{x + _LEGEND_TEXT}" y="{y + 4}">{escape(line.label)}</text>')
    return "".join(parts)


def _wrap(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    # The text is escaped above; what else stands here are numbers.
    return Markup(  # noqa: S704
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )


def _x(value: float, axes: Axes) -> str:
    share = (value - axes.x[0]) / (axes.x[1] - axes.x[0])
    return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"


def _y(value: float, axes: Axes) -> str:
    share = (value - axes.y[0]) / (axes.y[1] - axes.y[0])
    return f"{_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM):.1f}"
