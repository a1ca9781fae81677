"""Change-feed lines for tests of the lake: from resources, as the gateway would send them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ehr_privacy.consent import (
    extend_to_merged_accounts,
    record_facts,
    record_to_json,
    stored_rule_rows,
)
from ehr_privacy.consent.research import RESEARCH_TABLES

CODES = "https://ehr-commons.hk/fhir/CodeSystem"


def feed_line(
    position: int,
    resource: Mapping[str, Any],
    *,
    version: int = 1,
    method: str = "PUT",
    author: str | None = "ha-harbour",
    last_updated: str = "2026-11-22T08:00:00.000Z",
) -> bytes:
    """Return one line; a DELETE carries no resource."""
    entry = {
        "position": position,
        "type": resource["resourceType"],
        "id": resource["id"],
        "version": version,
        "lastUpdated": last_updated,
        "method": method,
        "author": author,
        "facts": record_to_json(record_facts(resource, author)),
        "resource": None if method == "DELETE" else resource,
    }
    return json.dumps(entry, ensure_ascii=False).encode()


def decision_lines(resources: Iterable[Mapping[str, Any]], start: int = 1) -> list[bytes]:
    """Return a line for each patient whom rules of some resources concern, as the gateway would.

    Of an id given twice the last one counts. Numbers count up from `start`.
    """
    latest = {(one["resourceType"], one["id"]): one for one in resources}
    made = [row for one in latest.values() for row in stored_rule_rows(one)]
    members = [dict(row.values) for row in made if row.table == "consent_membership"]
    rules: dict[str, list[dict[str, Any]]] = {}
    for one in latest.values():
        # A Consent that opens or closes nothing any more tells so too.
        if one["resourceType"] == "Consent":
            rules[one["patient"]["reference"].removeprefix("Patient/")] = []
    for row in extend_to_merged_accounts(made):
        if row.table in RESEARCH_TABLES:
            listed = rules.setdefault(str(row.values["patient"]), [])
            listed.append({"table": row.table, **row.values})
            listed += [
                {"table": "consent_membership", **member}
                for member in members
                if member["practitioner"] == row.values.get("author_person")
            ]
    return [
        json.dumps({"decision": number, "type": "Patient", "id": patient, "rules": listed}).encode()
        for number, (patient, listed) in enumerate(sorted(rules.items()), start)
    ]


def feed_page(resources: Iterable[Mapping[str, Any]], start: int = 1) -> bytes:
    """Return a page with one line for each resource, positions counting up from `start`."""
    lines = [feed_line(start + number, resource) for number, resource in enumerate(resources)]
    return b"\n".join(lines) + b"\n"


def consent(patient: str, category: str, permit: bool = True, **provision: Any) -> dict[str, Any]:
    """Return an active Consent of a patient, by default of no organisation in particular."""
    return {
        "resourceType": "Consent",
        "id": f"{category}-{patient}",
        "status": "active",
        "scope": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                    "code": "patient-privacy",
                }
            ]
        },
        "category": [{"coding": [{"system": f"{CODES}/consent-category", "code": category}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "policyRule": {"text": category},
        "provision": {
            "type": "permit" if permit else "deny",
            "period": {"start": "2026-01-01"},
            **provision,
        },
    }


def synthea(folder: Path, patients: int) -> Iterator[dict[str, Any]]:
    """Yield the records of the first patients of a bulk export, directories whole."""
    chosen: set[str] = set()
    with gzip.open(folder / "Patient.ndjson.gz", "rt") as lines:
        for line in list(lines)[:patients]:
            chosen.add(json.loads(line)["id"])
    for file in sorted(folder.glob("*.ndjson.gz")):
        if file.name == "Provenance.ndjson.gz":
            continue
        with gzip.open(file, "rt") as lines:
            for line in lines:
                resource = json.loads(line)
                subject = resource.get("subject") or resource.get("patient") or {}
                whose = str(subject.get("reference", "")).removeprefix("Patient/")
                if (whose or resource["id"]) in chosen or (
                    not whose and resource["resourceType"] != "Patient"
                ):
                    yield resource
