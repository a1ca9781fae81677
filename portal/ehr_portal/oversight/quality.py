"""The lake's quality results: MeasureReports as one table per table of the lake."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import Text
from ehr_portal.record.plain_names import plain_name

PASSED = f"{JURISDICTION.fhir_base}/StructureDefinition/quality-passed"
# The system under which plain_names.toml has the checks' names.
CHECKS = f"{JURISDICTION.fhir_base}/CodeSystem/quality-check"


@dataclass(frozen=True)
class Check:
    """One expectation: how many rows were looked at and how many met it."""

    name: str
    met: int
    looked_at: int
    # As the report says it: a check may allow some rows that do not meet it.
    passed: bool

    @property
    def share(self) -> float:
        """Return the share that met it; nothing to look at is nothing wrong."""
        return self.met / self.looked_at if self.looked_at else 1.0

    def title(self, language: str) -> Text:
        """Return its everyday name, or the name it has in the rules."""
        plain = plain_name(CHECKS, self.name, language)
        return Text(plain, language) if plain else Text(self.name, "en")


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
    met = counts.get("numerator", 0)
    looked_at = counts.get("denominator", counts.get("initial-population", 0))
    verdict = next(
        (e.get("valueBoolean") for e in group.get("extension", ()) if e.get("url") == PASSED), None
    )
    return Check(
        name=str(group.get("code", {}).get("text", "")),
        met=met,
        looked_at=looked_at,
        # A report that does not say is held to every row.
        passed=met >= looked_at if verdict is None else bool(verdict),
    )


def _when(resource: Resource) -> str:
    period = resource.get("period", {})
    return str(resource.get("date") or period.get("end") or period.get("start", ""))
