"""The registry of FHIR's RESTful interactions that are offered (R4 §3.1.0): level, audit action.

The CapabilityStatement and the AuditEvents are made from it; a test calls each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Types whose resources no client may store, and why. What is stored of them can be deleted.
NOT_WRITTEN: Mapping[str, str] = {
    "AuditEvent": "The audit log is written by the server alone.",
    "OperationDefinition": "They say what this server does, and are made from its operations.",
    "Subscription": "A Subscription is written alone, at its own address.",
}


@dataclass(frozen=True)
class Interaction:
    """One interaction: its code, its level, and its AuditEvent.action (C, R, U, D or E)."""

    code: str
    level: str
    action: str


INTERACTIONS = (
    Interaction("read", "type", "R"),
    Interaction("vread", "type", "R"),
    Interaction("update", "type", "U"),
    Interaction("patch", "type", "U"),
    Interaction("delete", "type", "D"),
    Interaction("history-instance", "type", "R"),
    Interaction("history-type", "type", "R"),
    Interaction("create", "type", "C"),
    Interaction("search-type", "type", "E"),
    Interaction("search-system", "system", "E"),
    Interaction("transaction", "system", "E"),
    Interaction("batch", "system", "E"),
    Interaction("history-system", "system", "R"),
)

# The interactions that write one resource: create, update, patch, delete.
WRITES = frozenset(interaction.code for interaction in INTERACTIONS if interaction.action in "CUD")
_AUDIT_ACTIONS = {interaction.code: interaction.action for interaction in INTERACTIONS}


def codes_at_level(level: str) -> list[str]:
    """Return the codes of one level.

    >>> codes_at_level("system")
    ['search-system', 'transaction', 'batch', 'history-system']
    """
    return [interaction.code for interaction in INTERACTIONS if interaction.level == level]


def audit_action(code: str) -> str:
    """Return the AuditEvent action of an interaction; operations are executions (`E`)."""
    return _AUDIT_ACTIONS.get(code, "E")
