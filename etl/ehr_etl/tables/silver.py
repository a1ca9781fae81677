"""Silver: the newest good version of each resource; a newer one that breaks a rule is quarantined.

What a line does to the state of its resource is one pure function (`ResourceState.take`), so that
the tables do not depend on how the lines were cut into batches. `rebuild.silver` says the same of
all lines at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ehr_etl.change_feed.entries import FeedLine

__all__ = ["ResourceState", "SilverReport"]

Row = dict[str, Any]

_VERSION_COLUMNS = (
    *("position", "type", "id", "version", "last_updated", "author"),
    *("deleted", "facts", "resource"),
)


@dataclass
class SilverReport:
    """How many versions the run took in, passed and quarantined, and why."""

    taken: int = 0
    passed: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def count(self, reasons: Collection[str], number: int = 1) -> None:
        """Count versions that broke some rules, or none."""
        self.taken += number
        self.passed += 0 if reasons else number
        self.quarantined += number if reasons else 0
        for reason in reasons:
            self.reasons[reason] = self.reasons.get(reason, 0) + number


@dataclass
class ResourceState:
    """The newest good version of a resource, and a newer one that waits in quarantine.

    Both are rows without their bucket; `passed` collects the good versions that were taken.
    """

    current: Row | None = None
    waiting: Row | None = None
    passed: list[Row] = field(default_factory=list)

    def take(self, line: FeedLine, reasons: Sequence[str]) -> None:
        """Take one line about this resource; order within the feed matters, batches do not."""
        if line.kind == "facts":
            for row in (self.current, self.waiting):
                if row is not None and row["version"] == line.version:
                    row["facts"] = line.facts
            return
        row = {name: getattr(line, name) for name in _VERSION_COLUMNS}
        if reasons:
            if self.waiting is None or row["version"] >= self.waiting["version"]:
                self.waiting = {**row, "reasons": list(reasons)}
            return
        self._pass_version(row)

    def release(self, position: int) -> None:
        """Take the waiting version as good, as a steward decided; nothing if it waits no more."""
        if self.waiting is not None and self.waiting["position"] == position:
            row, self.waiting = self.waiting, None
            self._pass_version({name: row[name] for name in _VERSION_COLUMNS})

    def _pass_version(self, row: Row) -> None:
        """Take a good version."""
        self.passed.append(row)
        if self.current is None or row["version"] >= self.current["version"]:
            self.current = dict(row)

    def settle(self) -> None:
        """Drop a waiting version that a good one supersedes; a newer one holds the record."""
        if self.current is None:
            return
        if self.waiting is not None and self.current["version"] >= self.waiting["version"]:
            self.waiting = None
        self.current["held"] = self.waiting is not None
