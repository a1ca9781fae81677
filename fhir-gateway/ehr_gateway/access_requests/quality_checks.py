"""Checks of the lake's tables that failed, as the MeasureReports tell that the lake sent."""

from __future__ import annotations

import orjson

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.access import Access
from ehr_gateway.database import Connection

__all__ = ["count_failed_checks"]

_BASE = JURISDICTION.fhir_base
_PASSED = f"{_BASE}/StructureDefinition/quality-passed"
_OF_PROVIDER = f"{_BASE}/StructureDefinition/quality-provider"


def count_failed_checks(connection: Connection, access: Access) -> int:
    """Return how many checks of tables failed when they were last checked.

    Of the reports that the requester may see. A table has one report, which the next replaces. The
    reports by provider count the same faults again, and are left out.
    """
    visible = access.read_predicate
    rows = connection.execute(
        "SELECT r.body FROM resource r WHERE r.type = 'MeasureReport' AND r.current = 1"  # noqa: S608
        f" AND r.deleted = 0 AND ({visible.sql})",
        visible.params,
    ).fetchall()
    reports = (orjson.loads(bytes(row["body"])) for row in rows)
    return sum(
        {"url": _PASSED, "valueBoolean": False} in group.get("extension", ())
        for report in reports
        if not any(part.get("url") == _OF_PROVIDER for part in report.get("extension", ()))
        for group in report.get("group", ())
    )
