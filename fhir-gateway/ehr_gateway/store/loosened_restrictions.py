"""Which patients' restrictions closed a record before its facts changed, and close it no more."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ehr_gateway.database import Connection
from ehr_privacy.consent import Record
from ehr_privacy.consent.selector_matching import Memberships, restriction_matches

__all__ = ["LoosenedRestrictions"]

_RESTRICTIONS = (
    "SELECT * FROM consent_restriction WHERE patient = ? AND since <= ?"
    " AND (until IS NULL OR ? < until)"
)
_MEMBERSHIPS = "SELECT * FROM consent_membership WHERE practitioner = ? AND organization = ?"

_Rule = Mapping[str, Any]


class LoosenedRestrictions:
    """Compares the facts of records before and after one transaction.

    The restrictions of a patient are read once, since one Medication or Encounter may open many
    records of the same patient.
    """

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._rules: dict[str, list[_Rule]] = {}
        self._memberships: Memberships = partial(_read_memberships, connection)

    def find(self, before: Record, after: Record) -> dict[str, frozenset[str]]:
        """Return by patient the Consents whose restriction covered the record until now.

        Exceptions are left aside, as they are the patient's own.
        """
        loosened: dict[str, frozenset[str]] = {}
        if before == after:
            return loosened
        for patient in sorted(before.patients):
            rules = self._read_rules(patient)
            closed_before = self._list_closing(rules, before)
            closed_after = self._list_closing(rules, after) if patient in after.patients else set()
            if closed_before - closed_after:
                loosened[patient] = frozenset(closed_before - closed_after)
        return loosened

    def _list_closing(self, rules: list[_Rule], record: Record) -> set[str]:
        return {
            str(rule["consent"])
            for rule in rules
            if restriction_matches(rule, record, self._memberships)
        }

    def _read_rules(self, patient: str) -> list[_Rule]:
        if patient not in self._rules:
            now = self._now_ms
            rows = self._connection.execute(_RESTRICTIONS, (patient, now, now)).fetchall()
            self._rules[patient] = [{name: row[name] for name in row.keys()} for row in rows]
        return self._rules[patient]


def _read_memberships(
    connection: Connection, practitioner: str, organization: str
) -> list[dict[str, Any]]:
    rows = connection.execute(_MEMBERSHIPS, (practitioner, organization)).fetchall()
    return [{name: row[name] for name in row.keys()} for row in rows]
