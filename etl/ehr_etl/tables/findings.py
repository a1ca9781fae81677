"""Findings sent to the gateway, for the steward's worklist: rules and paths, never a value."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from ehr_etl.data_quality.gateway_client import post_to_gateway
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import Lake
from ehr_etl.tables.quarantine import list_findings, list_held_versions

__all__ = ["build_findings", "send_findings"]

# What is sent in one request, some MB; the steward's list shows the oldest. Chosen.
_MOST = 20_000


def build_findings(lake: Lake) -> list[dict[str, Any]]:
    """Return what has faults, the oldest first; of a record its newest version alone."""
    rules = load_quality_rules()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for held in (*list_findings(lake), *list_held_versions(lake)):
        if held.type is None or held.id is None:
            # A line that is no record: its operator has it, no steward.
            continue
        is_error = any(map(rules.is_error, held.reasons))
        found[held.type, held.id] = {
            "type": held.type,
            "id": held.id,
            "version": held.version,
            "severity": "error" if is_error else "warning",
            "rules": list(held.reasons),
            "elements": list(held.elements),
        }
    return list(found.values())[:_MOST]


def send_findings(client: httpx.Client, token: str, lake: Lake) -> int:
    """Send all findings to the gateway; they take the place of those sent before."""
    findings = build_findings(lake)
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "findings", "valueString": orjson.dumps(findings).decode()},
            {"name": "all", "valueBoolean": True},
        ],
    }
    post_to_gateway(client, token, "/fhir/$report-findings", body)
    return len(findings)
