"""The lake's quality results: MeasureReports as one table per table of the lake."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ehr_portal.gateway import Resource


@dataclass(frozen=True)
class Check:
    """One expectation: how many rows were looked at and how many met it."""

    name: str
    met: int
    looked_at: int

    @property
    def share(self) -> float:
        """Return the share that met it; nothing to look at is nothing wrong."""
        return self.met / self.looked_at if self.looked_at else 1.0

    @property
    def passed(self) -> bool:
        """Return whether every row met it."""
        return self.met >= self.looked_at


@dataclass(frozen=True)
class Report:
    """The checks of one table at one time."""

    table: str
    when: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> int:
        """Return how many checks did not pass."""
        return sum(not check.passed for check in self.checks)


def reports(resources: Iterable[Resource]) -> list[Report]:
    """Return the newest report of each table, those with failures first."""
    newest: dict[str, Report] = {}
    for resource in sorted(resources, key=_when):
        report = _report(resource)
        newest[report.table] = report
    return sorted(newest.values(), key=lambda r: (-r.failed, r.table))


def _report(resource: Resource) -> Report:
    groups = resource.get("group", ())
    return Report(_table(resource), _when(resource), tuple(_check(group) for group in groups))


def _table(resource: Resource) -> str:
    for identifier in resource.get("identifier", ()):
        if identifier.get("value"):
            return str(identifier["value"]).rsplit("/", 1)[-1]
    subject = resource.get("subject", {}).get("display")
    measure = str(resource.get("measure", "")).rstrip("/").rsplit("/", 1)[-1]
    return str(subject or measure.removeprefix("lake-quality-"))


def _check(group: Resource) -> Check:
    counts = {
        c.get("code"): int(population.get("count", 0))
        for population in group.get("population", ())
        for c in population.get("code", {}).get("coding", ())
    }
    return Check(
        name=str(group.get("code", {}).get("text", "")),
        met=counts.get("numerator", 0),
        looked_at=counts.get("denominator", counts.get("initial-population", 0)),
    )


def _when(resource: Resource) -> str:
    period = resource.get("period", {})
    return str(resource.get("date") or period.get("end") or period.get("start", ""))
