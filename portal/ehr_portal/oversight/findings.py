"""Findings of quality: what the gateway tells of a version with faults, as lines in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts, parse_values
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.oversight.quality import CHECK_NAME_SYSTEM
from ehr_portal.record.display import Text
from ehr_portal.record.plain_names import plain_name

__all__ = [
    "Element",
    "Finding",
    "count_by_organization",
    "count_by_rule",
    "describe_value",
    "name_rule",
    "parse_elements",
    "parse_finding",
    "parse_findings",
]

_DAY_SECONDS = 86_400
# Of a value in a cell: a code with its text, not a narrative. Chosen.
_LONGEST_TEXT = 300
# What of an object says the most, in this order.
_TEXTS = ("text", "display", "code", "reference", "value", "start", "family")


@dataclass(frozen=True)
class Finding:
    """A version that breaks rules, and what was decided of it."""

    record: str
    version: int
    is_error: bool
    found: str
    organization: str
    rules: tuple[str, ...]
    decision: str = ""
    reason: str = ""
    decided_by: str = ""
    decided: str = ""

    @property
    def resource_type(self) -> str:
        """Return the type of the record."""
        return self.record.partition("/")[0]

    def days_old(self, now: datetime) -> int:
        """Return for how many days it has waited."""
        return max(0, int((now.timestamp() - fhir_timestamp(self.found)) // _DAY_SECONDS))


@dataclass(frozen=True)
class Element:
    """An element at fault or beside it: of which record (none for its own), where, and what."""

    record: str
    path: str
    # None where nothing is there.
    value: str | None


def name_rule(rule: str, language: str) -> Text:
    """Return a rule in words, or the name it has in the rules."""
    everyday = plain_name(CHECK_NAME_SYSTEM, rule, language)
    return Text(everyday, language) if everyday else Text(rule, "en")


def parse_findings(answer: Resource) -> list[Finding]:
    """Return the findings of the answer of `$findings`."""
    return [_build_finding(part) for part in parse_multi_parts(answer, "finding")]


def parse_finding(answer: Resource) -> Finding:
    """Return the finding of the answer of `$finding`."""
    return _build_finding(MultiPartParameter(parse_values(answer)))


def parse_elements(answer: Resource) -> list[Element]:
    """Return the elements of the answer of `$finding`, in its order."""
    elements = []
    for part in parse_multi_parts(answer, "element"):
        record, _, path = part.path.rpartition("#")
        value = describe_value(part.value) if part.value else None
        elements.append(Element(record, path, value))
    return elements


def describe_value(text: str) -> str:
    """Return an element's JSON as a line of text.

    >>> describe_value('{"value": 1800, "unit": "beats/min", "code": "/min"}')
    '1800 beats/min'
    >>> describe_value('{"coding": [{"code": "8867-4", "display": "Heart rate"}]}')
    'Heart rate'
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        # It was cut at its end.
        value = text
    return _describe(value)[:_LONGEST_TEXT]


def count_by_organization(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    """Return the organisations of some findings with how many each has, the most first."""
    return Counter(finding.organization for finding in findings).most_common()


def count_by_rule(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    """Return the rules of some findings with how many break each, the most first."""
    return Counter(rule for finding in findings for rule in finding.rules).most_common()


def _build_finding(part: MultiPartParameter) -> Finding:
    return Finding(
        record=part.record,
        version=int(part.version or 0),
        is_error=part.severity == "error",
        found=part.found,
        organization=part.organization,
        rules=tuple(part.values.get("rule", ())),
        decision=part.decision,
        reason=part.reason,
        decided_by=part.decided_by,
        decided=part.decided,
    )


def _describe(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_describe, value))
    if not isinstance(value, dict):
        return str(value)
    if isinstance(value.get("value"), int | float):
        unit = value.get("unit") or value.get("code") or ""
        return f"{value['value']} {unit}".strip()
    if "start" in value or "end" in value:
        return f"{value.get('start', '')} – {value.get('end', '')}".strip()
    if "family" in value or "given" in value:
        words = [value.get("family"), *value.get("given", ())]
        return str(value.get("text") or " ".join(str(word) for word in words if word))
    for key in ("text", "display"):
        if isinstance(value.get(key), str):
            return str(value[key])
    if "coding" in value:
        return _describe(value["coding"])
    for key in _TEXTS:
        if key in value:
            return _describe(value[key])
    return "; ".join(f"{key}: {_describe(content)}" for key, content in value.items())
