"""Decisions: what the gateway's rules say of each patient, and what follows for research.

The gateway sends the rule rows as its own transactions wrote them; nothing is read out of a Consent
here. Whoever's rules are not understood is in doubt, and in doubt nothing goes to research.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from ehr_etl.change_feed.entries import EVERYBODY
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.lake import BUCKET, Lake
from ehr_etl.tables.bucketed import Layout, read_rows
from ehr_privacy.consent import Record, RuleRow, Rules, decide_research, record_from_json

__all__ = [
    "ClosedRecords",
    "PatientDecision",
    "build_decision_row",
    "decide_record",
    "list_patients",
    "next_change_ms",
    "read_decisions",
    "read_decisions_of",
]


@dataclass(frozen=True)
class PatientDecision:
    """The rule rows of a patient as JSON, None if they are not understood; `gone` if deleted."""

    rules: str | None = "[]"
    gone: bool = False

    @cached_property
    def rows(self) -> tuple[RuleRow, ...]:
        """Return the rule rows; none of a patient in doubt."""
        return tuple(
            RuleRow(row["table"], {name: row[name] for name in row if name != "table"})
            for row in orjson.loads(self.rules or "[]")
        )


@dataclass
class ClosedRecords:
    """How many records of a batch research may not use, by reason, and the patients in doubt."""

    reasons: dict[str, int] = field(default_factory=dict)
    patients_in_doubt: set[str] = field(default_factory=set)

    def count(self, reason: str) -> None:
        """Count one closed record."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def add(self, other: ClosedRecords) -> None:
        """Add what was counted of other records."""
        for reason, number in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number
        self.patients_in_doubt |= other.patients_in_doubt


def read_decisions(
    lake: Lake, layout: Layout, patients: Collection[str]
) -> dict[str, PatientDecision]:
    """Return what is decided about some patients, and about everybody."""
    return read_decisions_of(lake, layout, {EVERYBODY, *patients})


def read_decisions_of(
    lake: Lake, layout: Layout, patients: Collection[str]
) -> dict[str, PatientDecision]:
    """Return what is decided about some patients."""
    buckets = {layout.place(f"Patient/{patient}") for patient in patients}
    rows = read_rows(lake, "decisions", buckets, patients, lambda table: table.column("patient"))
    return {row["patient"]: PatientDecision(row["rules"], row["gone"]) for row in rows}


def build_decision_row(
    layout: Layout, patient: str, decision: PatientDecision, now_ms: int
) -> dict[str, Any]:
    """Return the row of `decisions` for a patient."""
    return {
        BUCKET: layout.place(f"Patient/{patient}"),
        "patient": patient,
        "rules": decision.rules,
        "gone": decision.gone,
        "changes_ms": next_change_ms(decision.rows, now_ms),
    }


def list_patients(row: Mapping[str, Any]) -> frozenset[str]:
    """Return the patients of a row of silver; nobody where its facts are not known."""
    # Not the whole record: it is asked of every row, and facts were read when their line was.
    facts = row["facts"]
    return frozenset() if facts is None else frozenset(orjson.loads(facts)["patients"])


def decide_record(
    row: Mapping[str, Any],
    decisions: Mapping[str, PatientDecision],
    now_ms: int,
    closed: ClosedRecords,
) -> Record | None:
    """Return the facts of a row of silver that research may use; None, counted, if it may not."""
    if row["deleted"] or row["resource"] is None:
        return None
    if row["held"]:
        # The newer version may close what the older one left open.
        closed.count("newer-version-in-quarantine")
        return None
    if any(map(load_quality_rules().is_error, row["faults"] or ())):
        closed.count("at-fault")
        return None
    record = _read_record(row)
    if record is None:
        closed.count("facts-in-doubt")
        return None
    about = [*sorted(record.patients), EVERYBODY]
    known = {patient: decisions[patient] for patient in about if patient in decisions}
    doubtful = {patient for patient, decision in known.items() if decision.rules is None}
    if doubtful:
        closed.patients_in_doubt |= doubtful - {EVERYBODY} or record.patients
        closed.count("rules-in-doubt")
        return None
    if any(decision.gone for decision in known.values()):
        closed.count("patient-deleted")
        return None
    rules = Rules(rule for decision in known.values() for rule in decision.rows)
    decision = decide_research(rules, record, now_ms)
    if not decision.permit:
        closed.count(decision.reason)
        return None
    return record


def next_change_ms(rules: Iterable[RuleRow], now_ms: int) -> int | None:
    """Return when the first term of some rules begins or ends after an instant; None if none does.

    >>> rows = [RuleRow("consent_joining", {"since": 5, "until": 9}),
    ...     RuleRow("consent_research", {"since": 7, "until": None})]
    >>> next_change_ms(rows, 6), next_change_ms(rows, 8), next_change_ms(rows, 9)
    (7, 9, None)
    """
    instants = (row.values[name] for row in rules for name in ("since", "until"))
    later = [value for value in instants if isinstance(value, int) and value > now_ms]
    return min(later, default=None)


def _read_record(row: Mapping[str, Any]) -> Record | None:
    """Return the facts of a row of silver, None where they are not known."""
    if row["facts"] is None:
        return None
    return record_from_json(orjson.loads(row["facts"]), row["type"], row["id"], row["author"])
