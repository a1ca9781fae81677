"""Proactive content negotiation by the Accept header (RFC 9110 §12.5.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["MediaRange", "parse_accept", "quality_of"]


@dataclass(frozen=True)
class MediaRange:
    """One range of an Accept header: its type, such as `text/*`, its parameters, its weight."""

    type: str
    parameters: tuple[tuple[str, str], ...]
    quality: float

    def specificity(self, media_type: str) -> int:
        """Return how closely the range names a type: 0 not at all, 1 by `*/*`, 3 exactly."""
        if self.type == media_type:
            return 3
        kind, _, subtype = self.type.partition("/")
        if subtype != "*":
            return 0
        return 1 if kind == "*" else 2 * (kind == media_type.partition("/")[0])


@lru_cache(maxsize=256)
def parse_accept(header: str) -> tuple[MediaRange, ...]:
    """Return the ranges of an Accept header in order; an empty header accepts everything.

    >>> [(range.type, range.quality) for range in parse_accept("text/html, */*;q=0.1")]
    [('text/html', 1.0), ('*/*', 0.1)]
    """
    return tuple(_parse_range(part) for part in (header.strip() or "*/*").split(",") if part)


def quality_of(media_types: Iterable[str], ranges: Iterable[MediaRange]) -> tuple[float, int]:
    """Return the weight of the range that names one of the types most closely, and how closely.

    >>> quality_of(["image/png"], parse_accept("image/*;q=0.5, */*;q=0.1"))
    (0.5, 2)
    """
    names = tuple(media_types)
    closest = 0.0, 0
    for media_range in ranges:
        how_closely = max(media_range.specificity(name) for name in names)
        if how_closely > closest[1]:
            closest = media_range.quality, how_closely
    return closest


def _parse_range(text: str) -> MediaRange:
    kind, *rest = (part.strip().lower() for part in text.split(";"))
    parameters = dict(part.partition("=")[::2] for part in rest)
    return MediaRange(kind, tuple(parameters.items()), _parse_quality(parameters.get("q", "1")))


def _parse_quality(text: str) -> float:
    # What is no weight is passed over, as if it were not sent.
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
