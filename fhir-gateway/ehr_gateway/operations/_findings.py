"""Findings of quality as operations answer them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.quality_findings import Finding
from ehr_gateway.http.parameters import parameter

__all__ = ["build_finding_parts"]


def build_finding_parts(finding: Finding) -> Iterator[dict[str, Any]]:
    """Yield the parts of a finding, without the elements at fault."""
    yield parameter("record", finding.record)
    yield parameter("version", finding.version)
    yield {"name": "severity", "valueCode": finding.severity}
    yield {"name": "found", "valueInstant": format_instant(finding.found_ms)}
    if finding.author is not None:
        yield parameter("organization", finding.author)
    for rule in finding.rules:
        yield parameter("rule", rule)
    if finding.decision is not None and finding.decided_ms is not None:
        yield {"name": "decision", "valueCode": finding.decision}
        yield parameter("reason", finding.reason)
        yield parameter("decided-by", finding.decided_by)
        yield {"name": "decided", "valueInstant": format_instant(finding.decided_ms)}
