"""Thresholds of the anomaly rules, from the reviewed file `rules/audit_watch.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ehr_fhir.errors import Fault

__all__ = ["FLAGS", "RULES", "AnomalyRules", "load_rules"]

# The rules, each with the names of its thresholds.
RULES: Mapping[str, frozenset[str]] = {
    "many-patients": frozenset({"minutes", "patients"}),
    "own-family-name": frozenset({"only_without_visit"}),
    "no-visit": frozenset({"days"}),
    "emergency-burst": frozenset({"hours", "patients"}),
    "after-hours": frozenset({"from_hour", "until_hour", "patients"}),
}
# All that may be on the worklist: what the rules find, and moves of a record to another patient.
FLAGS = (*RULES, "record-moved")


@dataclass(frozen=True)
class AnomalyRules:
    """The thresholds of each enabled rule."""

    figures: Mapping[str, Mapping[str, int]]

    def thresholds_of(self, rule: str) -> Mapping[str, int] | None:
        """Return a rule's thresholds; None if it is not enabled."""
        return self.figures.get(rule)


@cache
def load_rules() -> AnomalyRules:
    """Read the rules of the reviewed file."""
    text = (files("ehr_gateway") / "rules" / "audit_watch.toml").read_text("utf-8")
    return parse_rules(text)


def parse_rules(text: str) -> AnomalyRules:
    """Parse rules; raise Fault for an unknown rule or threshold."""
    figures = tomllib.loads(text)
    for rule, values in figures.items():
        if rule not in RULES or set(values) != RULES[rule]:
            raise Fault(f"audit_watch.toml: {rule} is no rule, or has not the figures it needs.")
        if any(int(value) < 0 for value in values.values()):
            raise Fault(f"audit_watch.toml: a figure of {rule} is below 0.")
    return AnomalyRules(figures)
