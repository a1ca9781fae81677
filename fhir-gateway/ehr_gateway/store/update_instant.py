"""The instant of a new version (`meta.lastUpdated`): the clock's, but never before an older one's.

Clients poll `_lastUpdated` and order by it, so it must rise in the order of writing, whatever the
clock does. A clock that was a day ahead leaves records that are dated a day ahead; once it is
corrected, new versions are dated a millisecond apart after the newest one, until the clock has
caught up. A client that asks for what is newer than the last instant it saw misses none of them.

The other way, instants that follow the clock back, would hide a day of changes from such clients.
See docs/explanation/reliability.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.dates import format_instant
from ehr_gateway.incidents import CLOCK_BEHIND, Incidents

__all__ = ["Latest", "next_instant"]

# A clock that is behind by less is no fault: requests that wait for their turn were stamped when
# they came. Several transactions of one moment then share an instant, as they always may.
_BEHIND_MS = 1000


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest version of a store: its position, and when it was made (ms since 1970).

    Zeros in an empty store.
    """

    position: int = 0
    last_updated_ms: int = 0


def next_instant(latest: Latest, clock_ms: int, incidents: Incidents) -> int:
    """Return the instant of the versions of one transaction, in the writer's turn."""
    behind = latest.last_updated_ms - clock_ms
    if behind <= _BEHIND_MS:
        incidents.end(CLOCK_BEHIND)
        return max(clock_ms, latest.last_updated_ms)
    incidents.begin(
        CLOCK_BEHIND,
        f"The clock is {behind // 1000} s behind the newest record. Records are dated after "
        f"{format_instant(latest.last_updated_ms)}, in the order of writing, until it has caught "
        "up.",
    )
    return latest.last_updated_ms + 1
