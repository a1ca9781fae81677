"""Eras: spans of a condition or an ingredient, gaps of up to 30 days closed (OHDSI's own rule)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

__all__ = ["Era", "Span", "join_spans"]

_PERSISTENCE = timedelta(days=30)


@dataclass(frozen=True)
class Span:
    """The first and last day of an occurrence."""

    start: date
    end: date


@dataclass(frozen=True)
class Era:
    """A span that joins others; `gap_days` are the days in it that none of them covers."""

    start: date
    end: date
    count: int
    gap_days: int


def join_spans(spans: Iterable[Span]) -> list[Era]:
    """Join spans that overlap or lie up to 30 days apart.

    >>> day = date(2026, 1, 1)
    >>> join_spans([Span(day, day), Span(day + timedelta(days=30), day + timedelta(days=31))])
    [Era(start=datetime.date(2026, 1, 1), end=datetime.date(2026, 2, 1), count=2, gap_days=29)]
    """
    eras: list[Era] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        last = eras[-1] if eras else None
        if last is None or span.start > last.end + _PERSISTENCE:
            eras.append(Era(span.start, span.end, 1, 0))
            continue
        gap = max(0, (span.start - last.end).days - 1)
        eras[-1] = Era(last.start, max(last.end, span.end), last.count + 1, last.gap_days + gap)
    return eras
