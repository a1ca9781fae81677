"""How a log differs from the leaves that were signed for, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Finding", "find_difference"]

# How far ahead a leaf out of place is looked for.
_LOOK_AHEAD = 64


@dataclass(frozen=True)
class Finding:
    """One fault: what kind, at which leaf (from 0), in which event where it is known."""

    kind: str
    index: int
    event: str | None
    text: str


def find_difference(
    start: int, witnessed: Sequence[bytes], found: Sequence[bytes], events: Mapping[int, str]
) -> Finding | None:
    """Return the first difference between the signed leaves and the stored ones, None without any.

    Both begin at leaf `start`; `events` gives ids of the events by leaf.
    """
    for offset, (wanted, there) in enumerate(zip(witnessed, found, strict=False)):
        if wanted != there:
            return _explained(start, offset, witnessed, found, events)
    if len(found) < len(witnessed):
        index = start + len(found)
        text = f"The log ends before leaf {index}, which was signed for: its end was cut off, or "
        return Finding("cut", index, None, f"{text}the database is an older state.")
    return None


def _explained(
    start: int,
    at: int,
    witnessed: Sequence[bytes],
    found: Sequence[bytes],
    events: Mapping[int, str],
) -> Finding:
    index = start + at
    event = events.get(index)
    after, now = list(witnessed[at : at + _LOOK_AHEAD]), list(found[at : at + _LOOK_AHEAD])
    if len(now) > 1 and len(after) > 1 and now[:2] == after[1:3]:
        return Finding("drop", index, event, f"The event of leaf {index} was taken out.")
    if len(now) > 2 and now[1:3] == after[:2]:
        return Finding("insert", index, event, f"An event was put in at leaf {index}.")
    if after[0] in now or now[0] in after[1:]:
        return Finding(
            "reorder", index, event, f"Events were put in another order from leaf {index}."
        )
    return Finding("flip", index, event, f"The event of leaf {index} is not the one signed for.")
