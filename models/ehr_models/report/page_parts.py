"""What the sections of the report page are made of: parts, tables, and figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ehr_models.report.messages import Words
from ehr_models.report.plots import Axes, Line, draw_lines

Report = Mapping[str, Any]
# Above so many, a plot's lines are no longer told apart.
_MOST_LINES = 4


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of each row is its heading."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """What stands together: a heading, a plot and its table, or a table alone, and notes."""

    heading: str = ""
    plot: Markup | None = None
    table: Table | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page, with the name that links lead to."""

    name: str
    title: str
    parts: Sequence[Part]


def format_number(value: float | None, words: Words) -> str:
    """Return a figure with three decimals, with four below a tenth."""
    if value is None:
        return words("not_defined")
    if abs(value) < 0.00005:
        return "0.000"
    text = f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"
    return text.replace("-", "−")


def format_interval(interval: Mapping[str, float | None] | None, words: Words) -> str:
    """Return an estimate with its interval in brackets."""
    if interval is None or interval["value"] is None:
        return words("not_defined")
    low, high = (format_number(interval[end], words) for end in ("low", "high"))
    value = format_number(interval["value"], words)
    return value if interval["low"] is None else f"{value} ({low} – {high})"


def format_count(count: int | None, words: Words) -> str:
    """Return a rounded count, or that it is hidden."""
    return words("fewer") if count is None else f"{count:,}"


def format_share(share: float | None, words: Words) -> str:
    """Return a share in per cent."""
    return words("not_defined") if share is None else f"{100 * share:.3g} %"


def list_predictors(report: Report, words: Words) -> list[tuple[str, Mapping[str, Any]]]:
    """Return title and performance of each predictor, the model first."""
    names = sorted(report["performance"], key=lambda name: name != report["model"])
    return [(get_title(report, name, words), report["performance"][name]) for name in names]


def list_drawn_predictors(report: Report, words: Words) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the predictors that have a curve: one that is the same for all is a point."""
    return [
        (title, performance)
        for title, performance in list_predictors(report, words)
        if len(performance["calibration"]["curve"]["predicted"]) > 1
    ][:_MOST_LINES]


def get_title(report: Report, name: str, words: Words) -> str:
    title = report["facts"]["predictors"].get(name, name)
    # A comparator's title says which of its parts are not there, so its name alone will not do.
    return words.find(f"predictor_{name}", words.find(f"title_{title}", title))


def plot_with_table(
    title: str, lines: Sequence[Line], axes: Axes, x_heading: str, words: Words
) -> Part:
    table = tabulate_lines(words("numbers"), lines, x_heading, words)
    return Part(title, draw_lines(lines, axes, title), table)


def tabulate_lines(caption: str, lines: Sequence[Line], x_heading: str, words: Words) -> Table:
    """Return one row per point that the lines share."""
    return Table(
        caption,
        (x_heading, *(line.label for line in lines)),
        [
            (f"{x:g}", *(format_number(line.y[place], words) for line in lines))
            for place, x in enumerate(lines[0].x)
        ],
    )


def find_range(lines: Iterable[Line]) -> tuple[float, float]:
    values = [
        value for line in lines for value in (*line.y, *line.low, *line.high) if value is not None
    ]
    low, high = min(values), max(values)
    margin = max(0.02, 0.1 * (high - low))
    return max(0.0, low - margin), min(1.0, high + margin)
