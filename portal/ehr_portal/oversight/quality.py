"""The lake's quality results: MeasureReports as one report for each table of the lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ehr_fhir.errors import NotFound
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import Text
from ehr_portal.record.plain_names import plain_name

PASSED_EXTENSION = f"{JURISDICTION.fhir_base}/StructureDefinition/quality-passed"
TREND_EXTENSION = f"{JURISDICTION.fhir_base}/StructureDefinition/quality-trend"
PROVIDER_EXTENSION = f"{JURISDICTION.fhir_base}/StructureDefinition/quality-provider"
EXPECTATION_EXTENSION = f"{JURISDICTION.fhir_base}/StructureDefinition/quality-expectation"
# The system under which names/platform.toml has the checks' names.
CHECK_NAME_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/quality-check"


@dataclass(frozen=True)
class Demand:
    """What a check demands, as the suite or the rule has it."""

    # The type of Great Expectations; of a rule over records `rule-` and its severity.
    type: str
    column: str = ""
    # The least share of rows, where not all have to meet it.
    mostly: float | None = None
    # What values are compared with; of a rule where it comes from.
    detail: str = ""
    # Whether what fails is kept out.
    holds_back: bool = False


@dataclass(frozen=True)
class Check:
    """One expectation: how many rows were evaluated and how many met it."""

    name: str
    met: int
    evaluated: int
    # As the report says it: a check may allow some rows that do not meet it.
    passed: bool
    demand: Demand | None = None
    # Instants of the checks before, and the share of rows that met it.
    trend: tuple[tuple[str, float], ...] = ()

    @property
    def unexpected(self) -> int:
        """Return how many rows did not meet it."""
        return self.evaluated - self.met

    @property
    def share(self) -> float:
        """Return the share of rows that met it; 1 where there was no row."""
        return self.met / self.evaluated if self.evaluated else 1.0

    def title(self, language: str) -> Text:
        """Return its everyday name, or the name it has in the rules."""
        everyday = plain_name(CHECK_NAME_SYSTEM, self.name, language)
        return Text(everyday, language) if everyday else Text(self.name, "en")


@dataclass(frozen=True)
class Report:
    """The checks of one table at one time."""

    table: str
    date: str
    checks: tuple[Check, ...]
    # Instants of the checks before, and the share of what was as expected.
    trend: tuple[tuple[str, float], ...] = ()
    # Of whom it is, where it is of a provider.
    organization: str = ""

    @property
    def failed(self) -> int:
        """Return how many checks did not pass."""
        return sum(not check.passed for check in self.checks)


def newest_reports(measure_reports: Iterable[Resource]) -> list[Report]:
    """Return the newest report of each table, those with most failures first."""
    newest: dict[str, Report] = {}
    for resource in sorted(measure_reports, key=_report_date):
        report = _parse_report(resource)
        newest[report.table] = report
    return sorted(newest.values(), key=lambda report: (-report.failed, report.table))


def find_report(measure_reports: Iterable[Resource], table: str) -> Report:
    """Return the newest report of a table, its checks that failed first; or raise NotFound."""
    report = next((r for r in newest_reports(measure_reports) if r.table == table), None)
    if report is None:
        raise NotFound("There is no check of this table.")
    return replace(report, checks=tuple(sorted(report.checks, key=lambda check: check.passed)))


def _parse_report(resource: Resource) -> Report:
    return Report(
        table=_table_name(resource),
        date=_report_date(resource),
        checks=tuple(_parse_check(group) for group in resource.get("group", ())),
        trend=tuple(_parse_trend(resource)),
        organization=_organization(resource),
    )


def _organization(resource: Resource) -> str:
    extensions = resource.get("extension", ())
    found = (
        extension.get("valueString")
        for extension in extensions
        if extension.get("url") == PROVIDER_EXTENSION
    )
    return str(next(found, ""))


def _parse_trend(resource: Resource) -> Iterator[tuple[str, float]]:
    for extension in resource.get("extension", ()):
        if extension.get("url") == TREND_EXTENSION:
            parts = {part["url"]: part for part in extension.get("extension", ())}
            yield str(parts["at"]["valueInstant"]), float(parts["share"]["valueDecimal"])


def _table_name(resource: Resource) -> str:
    # The last part of the identifier, else what the report is about, else the Measure's name.
    for identifier in resource.get("identifier", ()):
        if identifier.get("value"):
            return str(identifier["value"]).rsplit("/", 1)[-1]
    if organization := _organization(resource):
        return f"provider-{organization}"
    subject = resource.get("subject", {}).get("display")
    measure = str(resource.get("measure", "")).rstrip("/").rsplit("/", 1)[-1]
    return str(subject or measure.removeprefix("lake-quality-"))


def _parse_check(group: Resource) -> Check:
    count_by_code = {
        coding.get("code"): int(population.get("count", 0))
        for population in group.get("population", ())
        for coding in population.get("code", {}).get("coding", ())
    }
    met = count_by_code.get("numerator", 0)
    evaluated = count_by_code.get("denominator", count_by_code.get("initial-population", 0))
    verdict = next(
        (
            extension.get("valueBoolean")
            for extension in group.get("extension", ())
            if extension.get("url") == PASSED_EXTENSION
        ),
        None,
    )
    return Check(
        name=str(group.get("code", {}).get("text", "")),
        met=met,
        evaluated=evaluated,
        # A report without a verdict passes only if every row met it.
        passed=met >= evaluated if verdict is None else bool(verdict),
        demand=_parse_demand(group),
        trend=tuple(_parse_trend(group)),
    )


def _parse_demand(group: Resource) -> Demand | None:
    for extension in group.get("extension", ()):
        if extension.get("url") == EXPECTATION_EXTENSION:
            parts = {part["url"]: part for part in extension.get("extension", ())}
            mostly = parts.get("mostly", {}).get("valueDecimal")
            return Demand(
                type=str(parts.get("type", {}).get("valueCode", "")),
                column=str(parts.get("column", {}).get("valueString", "")),
                mostly=None if mostly is None else float(mostly),
                detail=str(parts.get("demand", {}).get("valueString", "")),
                holds_back=parts.get("holds-back", {}).get("valueBoolean") is True,
            )
    return None


def _report_date(resource: Resource) -> str:
    period = resource.get("period", {})
    return str(resource.get("date") or period.get("end") or period.get("start", ""))
