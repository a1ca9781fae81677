"""Silver: the newest good version of each resource; a newer one that breaks a rule is quarantined.

What a line does to the state of its resource is one pure function (`ResourceState.take`), so that
the tables do not depend on how the lines were cut into batches. `rebuild.silver` says the same of
all lines at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ehr_etl.change_feed.entries import FeedLine
from ehr_etl.data_quality.faults import Fault
from ehr_etl.data_quality.rules import QualityRules
from ehr_etl.data_quality.timeliness import IN_TIME, is_late
from ehr_etl.lake import VERSION_COLUMNS

__all__ = ["FAULTY", "ResourceState", "SilverReport", "check_line", "is_late_line", "list_elements"]

Row = dict[str, Any]

_COLUMNS = (*VERSION_COLUMNS, "deleted", "facts", "resource")
# Stands for any rule, where versions that broke one are counted.
FAULTY = "any-rule"
# What a steward's decision does to a version.
_RELEASE = "release"


@dataclass
class SilverReport:
    """How many versions the run took in, passed and quarantined, and why."""

    taken: int = 0
    passed: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    # (author, rule) -> versions that broke it; of the empty rule all versions of the author, of
    # `FAULTY` those that broke any, of `IN_TIME` those that came late.
    by_author: dict[tuple[str, str], int] = field(default_factory=dict)

    def count(
        self,
        reasons: Collection[str],
        *,
        is_held: bool,
        number: int = 1,
        author: str | None = None,
        is_late: bool = False,
    ) -> None:
        """Count versions that broke some rules, or none."""
        if author is not None:
            late = (IN_TIME,) if is_late else ()
            for rule in ("", *([FAULTY, *reasons] if reasons else ()), *late):
                key = (author, rule)
                self.by_author[key] = self.by_author.get(key, 0) + number
        self.taken += number
        self.passed += 0 if is_held else number
        self.quarantined += number if is_held else 0
        for reason in reasons:
            self.reasons[reason] = self.reasons.get(reason, 0) + number

    def add(self, other: SilverReport) -> None:
        """Add what another report counted."""
        self.taken += other.taken
        self.passed += other.passed
        self.quarantined += other.quarantined
        for reason, number in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number
        for key, number in other.by_author.items():
            self.by_author[key] = self.by_author.get(key, 0) + number


@dataclass
class ResourceState:
    """The newest good version of a resource, and a newer one that waits in quarantine.

    Both are rows without their bucket; `passed` collects the good versions that were taken, and
    `decided` has what stewards decided of its versions. `before` is the row of silver as it was.
    """

    current: Row | None = None
    waiting: Row | None = None
    passed: list[Row] = field(default_factory=list)
    decided: Mapping[int, str] = field(default_factory=dict)
    before: Row | None = None

    def take(self, line: FeedLine, faults: Sequence[Fault]) -> None:
        """Take one line about this resource; order within the feed matters, batches do not.

        `faults` are those that hold a version back, none where a steward released it.
        """
        if line.kind == "facts":
            for row in (self.current, self.waiting):
                if row is not None and row["version"] == line.version:
                    row["facts"] = line.facts
            return
        row = {name: getattr(line, name) for name in _COLUMNS}
        if faults:
            if self.waiting is None or row["version"] >= self.waiting["version"]:
                self.waiting = {
                    **row,
                    "reasons": [fault.rule for fault in faults],
                    "elements": list_elements(faults),
                }
            return
        self._pass_version(row)

    def is_released(self, version: int | None) -> bool:
        """Say whether a steward released a version."""
        return version is not None and self.decided.get(version) == _RELEASE

    def release_waiting(self) -> None:
        """Take the waiting version as good, if a steward decided so."""
        if self.waiting is not None and self.is_released(self.waiting["version"]):
            row, self.waiting = self.waiting, None
            self._pass_version({name: row[name] for name in _COLUMNS})

    def _pass_version(self, row: Row) -> None:
        """Take a good version."""
        self.passed.append(row)
        if self.current is None or row["version"] >= self.current["version"]:
            self.current = {**row, "faults": []}

    def settle(self) -> None:
        """Drop a waiting version that a good one supersedes; a newer one holds the record."""
        if self.current is None:
            return
        if self.waiting is not None and self.current["version"] >= self.waiting["version"]:
            self.waiting = None
        self.current["held"] = self.waiting is not None


def list_elements(faults: Iterable[Fault]) -> list[str]:
    """Return the paths of all elements that some faults name, each once."""
    return list(dict.fromkeys(path for fault in faults for path in fault.elements))


def is_late_line(line: FeedLine) -> bool:
    """Say whether a line is a record's first version and came late; a correction never does."""
    if line.kind != "version" or line.version != 1 or line.deleted or line.resource is None:
        return False
    return is_late(orjson.loads(line.resource), line.last_updated)


def check_line(line: FeedLine, rules: QualityRules) -> list[Fault]:
    """Return the faults of a line: its own, or the rules that the version breaks by itself."""
    if line.fault is not None:
        return [Fault(line.fault)]
    if line.kind != "version" or line.deleted or line.resource is None:
        return []
    return rules.check_version(orjson.loads(line.resource), line.last_updated)
