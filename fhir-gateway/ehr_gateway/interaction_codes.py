"""The registry of FHIR's RESTful interactions that are offered (R4 §3.1.0): level, audit action.

The CapabilityStatement and the AuditEvents are made from it; a test calls each of them.
"""

from __future__ import annotations

from dataclasses import dataclass


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


def codes_at_level(level: str) -> list[str]:
    """Return the codes of one level.

    >>> codes_at_level("system")
    ['search-system', 'transaction', 'batch', 'history-system']
    """
    return [one.code for one in INTERACTIONS if one.level == level]


def audit_action(code: str) -> str:
    """Return the action an audit names; what is no FHIR interaction is an execution."""
    return next((one.action for one in INTERACTIONS if one.code == code), "E")
