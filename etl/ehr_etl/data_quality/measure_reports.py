"""Quality results as FHIR MeasureReports, sent to the gateway in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import httpx

from ehr_etl.data_quality.expectations import find_expectation
from ehr_etl.data_quality.gateway_client import post_to_gateway
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_fhir.dates import format_instant
from ehr_fhir.jurisdiction import JURISDICTION

BASE = JURISDICTION.fhir_base
# Whether an expectation was met. Some allow a share of rows, so the counts do not tell.
QUALITY_PASSED_URL = f"{BASE}/StructureDefinition/quality-passed"
# The organization whose records a report is about: R4's `subject` may not name one.
QUALITY_PROVIDER_URL = f"{BASE}/StructureDefinition/quality-provider"
# An instant of the past and the share of what was as expected then.
QUALITY_TREND_URL = f"{BASE}/StructureDefinition/quality-trend"
# What a check demands, in parts: the type of Great Expectations, its column, what it compares with.
QUALITY_EXPECTATION_URL = f"{BASE}/StructureDefinition/quality-expectation"
_MEASURE = f"{BASE}/Measure/lake-quality-"
_POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"

Json = dict[str, Any]  # a FHIR resource
Trends = Mapping[str, Sequence[tuple[int, float]]]
# By table and check.
CheckTrends = Mapping[tuple[str, str], Sequence[tuple[int, float]]]


def build_measure_reports(
    tables: Sequence[TableQuality],
    at: str,
    *,
    providers: Sequence[TableQuality] = (),
    trends: Trends = MappingProxyType({}),
    check_trends: CheckTrends = MappingProxyType({}),
) -> list[Json]:
    """Return one MeasureReport of type summary per table, and per provider.

    `at` is the instant of the check; a provider's has the rules that its records broke. `trends`
    has the shares of checks before, by table and provider; `check_trends` those of each check.
    What a table's checks demand is told from the suites and rules themselves, never from rows.
    """
    reports = []
    for table in tables:
        report = _build_report(table, at)
        for group, result in zip(report.get("group", ()), table.results, strict=True):
            group["extension"] += _describe_check(table.table, result.name)
            _add_trend(group, check_trends.get((table.table, result.name), ()))
        reports.append(_add_trend(report, trends.get(table.table, ())))
    for provider in providers:
        report = _build_report(provider, at)
        report |= {
            "id": f"of-{provider.table}"[:64],
            "measure": f"{_MEASURE}provider",
            "extension": [{"url": QUALITY_PROVIDER_URL, "valueString": provider.table}],
        }
        reports.append(_add_trend(report, trends.get(provider.table, ())))
    return reports


def send_measure_reports(client: httpx.Client, token: str, reports: Sequence[Json]) -> None:
    """Send reports to the gateway as one transaction; each replaces the one before of its table."""
    entries = [
        {
            "resource": report,
            "request": {"method": "PUT", "url": f"MeasureReport/{report['id']}"},
        }
        for report in reports
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    post_to_gateway(client, token, "/fhir", bundle)


def is_own_report(entry: Mapping[str, Any]) -> bool:
    """Say whether a line of the feed is a version of a report that the lake itself sent.

    The results of the quality gate are no input of it: each run would give a change to the next.
    """
    resource = entry.get("resource")
    return (
        entry.get("type") == "MeasureReport"
        and isinstance(resource, dict)
        and str(resource.get("measure", "")).startswith(_MEASURE)
    )


def _add_trend(report: Json, trend: Sequence[tuple[int, float]]) -> Json:
    if trend:
        report.setdefault("extension", []).extend(
            {
                "url": QUALITY_TREND_URL,
                "extension": [
                    {"url": "at", "valueInstant": format_instant(at_ms)},
                    {"url": "share", "valueDecimal": share},
                ],
            }
            for at_ms, share in trend
        )
    return report


def _describe_check(table: str, name: str) -> list[Json]:
    """Return the extension with what a check demands; none of a fault of the feed's own lines."""
    parts: dict[str, Json] = {}
    if (expectation := find_expectation(table, name)) is not None:
        arguments = expectation["kwargs"]
        parts["type"] = {"valueCode": expectation["type"]}
        parts["holds-back"] = {"valueBoolean": bool(expectation.get("holds_back"))}
        if "column" in arguments:
            parts["column"] = {"valueString": arguments["column"]}
        if "mostly" in arguments:
            parts["mostly"] = {"valueDecimal": arguments["mostly"]}
        listed = arguments.get("column_list") or arguments.get("value_set") or ()
        bounds = (arguments[side] for side in ("min_value", "max_value") if side in arguments)
        if demand := arguments.get("regex") or ", ".join(listed) or " – ".join(map(str, bounds)):
            parts["demand"] = {"valueString": demand}
    elif (rule := load_quality_rules().find(name)) is not None:
        parts["type"] = {"valueCode": f"rule-{rule.severity}"}
        parts["holds-back"] = {"valueBoolean": rule.severity == "error"}
        parts["demand"] = {"valueString": rule.source}
    if not parts:
        return []
    listed_parts = [{"url": url, **value} for url, value in parts.items()]
    return [{"url": QUALITY_EXPECTATION_URL, "extension": listed_parts}]


def _build_report(table: TableQuality, at: str) -> Json:
    report: Json = {
        "resourceType": "MeasureReport",
        "id": table.table.replace("_", "-"),
        "status": "complete",
        "type": "summary",
        "measure": f"{_MEASURE}{table.table.replace('_', '-')}",
        "date": at,
        "reporter": {"reference": "Organization/ehr-commons"},
        "period": {"start": at, "end": at},
    }
    # Of a provider whose records broke no rule there is nothing to list; FHIR has no empty list.
    if table.results:
        report["group"] = [_build_group(result) for result in table.results]
    return report


def _build_group(result: ExpectationResult) -> Json:
    met = result.evaluated - result.unexpected
    return {
        "extension": [{"url": QUALITY_PASSED_URL, "valueBoolean": result.success}],
        "code": {"text": result.name},
        "population": [
            {"code": _population_code("denominator"), "count": result.evaluated},
            {"code": _population_code("numerator"), "count": met},
        ],
        "measureScore": {
            # The share of rows as expected; an empty table has none.
            "value": round(met / result.evaluated, 6) if result.evaluated else 0
        },
    }


def _population_code(code: str) -> Json:
    return {"coding": [{"system": _POPULATION, "code": code}]}
