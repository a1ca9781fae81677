"""The quality rules: read from rules.toml; which of them a version breaks by itself.

A rule has a severity: `error` holds a version in quarantine, `warning` puts it on the steward's
worklist, `information` is counted. Rules between records of a person are in `linked_rules`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Literal

from ehr_etl.data_quality.faults import Fault as RuleFault
from ehr_etl.data_quality.faults import Resource, find_elements
from ehr_etl.data_quality.structure import find_structure_faults
from ehr_etl.data_quality.version_rules import KINDS, LINKED_KINDS
from ehr_fhir.errors import Fault

__all__ = ["QualityRule", "QualityRules", "Severity", "load_quality_rules", "rules_digest"]

Severity = Literal["error", "warning", "information"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information")
_COMMON = frozenset({"name", "kind", "severity", "scope", "source"})
_STRUCTURE = "structure"
_FILES = ("rules.toml", "value_limits.toml", "sex_codes.toml")


@dataclass(frozen=True)
class QualityRule:
    """One rule: its test (`kind`), what that compares, and the types it is about (all if none)."""

    name: str
    kind: str
    severity: Severity
    scope: frozenset[str]
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def applies_to(self, resource_type: str) -> bool:
        """Say whether the rule is about records of a type."""
        return not self.scope or resource_type in self.scope


@dataclass(frozen=True)
class QualityRules:
    """The rules by name, types that are never held, and what makes a record voided."""

    rules: tuple[QualityRule, ...]
    never_held: frozenset[str]
    voided: Mapping[str, frozenset[str]]

    @cached_property
    def severities(self) -> Mapping[str, Severity]:
        """Severity by the name of a rule."""
        return {rule.name: rule.severity for rule in self.rules}

    @cached_property
    def _by_kind(self) -> Mapping[str, QualityRule]:
        return {rule.kind: rule for rule in reversed(self.rules)}

    @cached_property
    def _of_type(self) -> dict[str, tuple[list[QualityRule], dict[str, str]]]:
        return {}

    def is_error(self, name: str) -> bool:
        """Say whether a rule holds a record back; faults of the feed's lines do."""
        return self.severity_of(name) == "error"

    def severity_of(self, name: str) -> Severity:
        """Return the severity of a fault; of the feed's lines and of a rejection an error."""
        return self.severities.get(name, "error")

    def find(self, name: str) -> QualityRule | None:
        """Return a rule by its name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def find_kind(self, kind: str) -> QualityRule | None:
        """Return the rule of a kind of which there is one at most."""
        return self._by_kind.get(kind)

    def linked(self) -> tuple[QualityRule, ...]:
        """Return the rules between the records of a person."""
        return tuple(rule for rule in self.rules if rule.kind in LINKED_KINDS)

    def check_version(self, resource: Resource, received: str | None) -> list[RuleFault]:
        """Return the faults of a version by itself; `received` is when the gateway stored it.

        >>> rules = load_quality_rules()
        >>> rules.check_version({"resourceType": "Patient", "birthDate": "1980-13-01"}, None)
        [Fault(rule='dates-exist', elements=('birthDate',))]
        """
        resource_type = str(resource.get("resourceType"))
        if resource_type in self.never_held:
            return []
        rules, names = self._rules_of(resource_type)
        found: dict[str, list[str]] = {}
        for kind, path in find_structure_faults(resource):
            if kind in names:
                found.setdefault(names[kind], []).append(path)
        # What the structure denies cannot be compared.
        if not found and not self.is_voided(resource):
            for rule in rules:
                if paths := list(KINDS[rule.kind](rule.parameters, resource, received)):
                    found[rule.name] = paths
        return [RuleFault(name, tuple(dict.fromkeys(paths))) for name, paths in found.items()]

    def is_voided(self, resource: Resource) -> bool:
        """Say whether a record says of itself that it was an error, or was not done."""
        for name, codes in self.voided.items():
            value = resource.get(name)
            if isinstance(value, str) and value in codes:
                return True
            if isinstance(value, dict):
                listed = {code for _, code in find_elements(value, "coding.code")}
                if listed & codes:
                    return True
        return False

    def _rules_of(self, resource_type: str) -> tuple[list[QualityRule], dict[str, str]]:
        if resource_type not in self._of_type:
            applying = [rule for rule in self.rules if rule.applies_to(resource_type)]
            self._of_type[resource_type] = (
                [rule for rule in applying if rule.kind in KINDS],
                {
                    str(rule.parameters["fault"]): rule.name
                    for rule in applying
                    if rule.kind == _STRUCTURE
                },
            )
        return self._of_type[resource_type]


def load_quality_rules(text: str | None = None) -> QualityRules:
    """Read data_quality/rules.toml, or the text given, and check its shape."""
    if text is None:
        return _shipped_rules()
    content = tomllib.loads(text)
    try:
        rules = tuple(_parse_rule(row) for row in content["rule"])
        never_held = frozenset(content["never_held"])
        voided = {name: frozenset(codes) for name, codes in content["voided"].items()}
    except KeyError as error:
        raise Fault(f"data_quality/rules.toml lacks {error}.") from error
    if len({rule.name for rule in rules}) != len(rules):
        raise Fault("data_quality/rules.toml names two rules alike.")
    return QualityRules(rules, never_held, voided)


@cache
def rules_digest() -> str:
    """Return a digest of the rules, and of this version, by which silver is made."""
    digest = hashlib.sha256(version("ehr-commons").encode())
    folder = files(__package__)
    code = sorted(item.name for item in folder.iterdir() if item.name.endswith(".py"))
    for name in (*_FILES, *code):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:32]


@cache
def _shipped_rules() -> QualityRules:
    return load_quality_rules((files(__package__) / "rules.toml").read_text("utf-8"))


def _parse_rule(row: Mapping[str, Any]) -> QualityRule:
    rule = QualityRule(
        row["name"],
        row["kind"],
        row["severity"],
        frozenset(row["scope"]),
        row["source"],
        {name: value for name, value in row.items() if name not in _COMMON},
    )
    if rule.kind not in KINDS and rule.kind not in LINKED_KINDS and rule.kind != _STRUCTURE:
        raise Fault(f"data_quality/rules.toml: the rule {rule.name} is of no kind: {rule.kind}.")
    if rule.severity not in SEVERITIES:
        raise Fault(f"data_quality/rules.toml: {rule.severity} is no severity.")
    return rule
