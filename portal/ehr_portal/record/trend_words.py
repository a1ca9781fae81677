"""How the newest result of a test stands to the one before: rising, falling, steady."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_portal.i18n import N_
from ehr_portal.record.display import Phrase, compose
from ehr_portal.record.trends import Point, Trend

# A change of at most this share of the range's width (of the earlier value, without a range) is
# "steady". Chosen: about what a laboratory's own scatter makes.
_STEADY = 0.1


@dataclass(frozen=True)
class Change:
    """The newest result beside the one before."""

    previous: Point
    # 1 rising, -1 falling, 0 steady; None where that cannot be said.
    direction: int | None

    @property
    def symbol(self) -> str:
        """Return an arrow for readers with eyes; the words say the same."""
        return {1: "↗", -1: "↘", 0: "→"}.get(2 if self.direction is None else self.direction, "")

    @property
    def word(self) -> str:
        """Return one word, still to translate; empty where the direction cannot be said."""
        words = {1: N_("Rising"), -1: N_("Falling"), 0: N_("Steady")}
        return "" if self.direction is None else words[self.direction]


def latest_change(trend: Trend) -> Change | None:
    """Return how the newest result differs from the one before; None without an earlier one."""
    counted = [point for point in trend.points if not point.is_void]
    if len(counted) < 2:
        return None
    previous, newest = counted[-2:]
    if previous.value is None or newest.value is None:
        return Change(previous, None)
    width = abs(previous.value)
    if trend.low is not None and trend.high is not None:
        width = trend.high - trend.low
    difference = newest.value - previous.value
    if abs(difference) <= width * _STEADY:
        return Change(previous, 0)
    return Change(previous, 1 if difference > 0 else -1)


def earlier_value(change: Change, language: str) -> Phrase:
    """Return the earlier value, for beside the word."""
    return compose(language, N_("before: %(value)s"), value=change.previous.text)
