"""Decisions about models: what one says, the SQLite file that keeps them, what follows from them.

The file is only added to: triggers refuse to change or delete a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ehr_privacy.audit import MODEL_DECISION

__all__ = [
    "Action",
    "Decision",
    "find_proposal",
    "find_shadow",
    "insert_decision",
    "is_withdrawn",
    "list_champions",
    "open_decisions",
    "select_decisions",
]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS model_decision (
    position INTEGER PRIMARY KEY,
    at TEXT NOT NULL, task TEXT NOT NULL, number INTEGER, action TEXT NOT NULL,
    who TEXT NOT NULL, reason TEXT NOT NULL, digest TEXT
) STRICT;
CREATE TRIGGER IF NOT EXISTS model_decision_keeps BEFORE UPDATE ON model_decision
    BEGIN SELECT RAISE(ABORT, 'decisions about models are never changed'); END;
CREATE TRIGGER IF NOT EXISTS model_decision_stays BEFORE DELETE ON model_decision
    BEGIN SELECT RAISE(ABORT, 'decisions about models are never deleted'); END;
"""


class Action(StrEnum):
    """What was decided about a version of a model."""

    PROPOSE = "propose"
    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    SHADOW = "shadow"
    END_SHADOW = "end-shadow"
    # Signed anew, by another key than before; what scores stays as it is.
    SIGN = "sign"
    # Its key became known: it loads no more until it is signed anew.
    WITHDRAW = "withdraw"


@dataclass(frozen=True)
class Decision:
    """One step: when, about which version (None: no version scores any more), who and why."""

    at: str
    task: str
    number: int | None
    action: Action
    who: str
    reason: str
    # SHA-256 of the version's manifest.
    digest: str | None
    # Its number among all decisions; 0 before it is kept.
    position: int = 0

    def to_record(self) -> Mapping[str, Any]:
        """Return what the leaf of the audit log says of it."""
        return {
            "kind": MODEL_DECISION,
            "seq": self.position,
            "at": self.at,
            "task": self.task,
            "number": self.number,
            "action": self.action.value,
            "who": self.who,
            "reason": self.reason,
            "version": self.digest,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Decision:
        """Return the decision that a leaf of the audit log tells of."""
        return cls(
            record["at"],
            record["task"],
            record["number"],
            Action(record["action"]),
            record["who"],
            record["reason"],
            record["version"],
            record["seq"],
        )


def open_decisions(path: Path) -> sqlite3.Connection:
    """Open the file of decisions, made if there is none; whoever opens it begins transactions."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.executescript(_SCHEMA)
    return connection


def insert_decision(connection: sqlite3.Connection, decision: Decision) -> None:
    """Keep a decision under its number."""
    connection.execute(
        "INSERT INTO model_decision(at, task, number, action, who, reason, digest, position)"
        " VALUES (:at, :task, :number, :action, :who, :reason, :digest, :position)",
        vars(decision),
    )


def select_decisions(connection: sqlite3.Connection) -> tuple[Decision, ...]:
    """Return the decisions about all models, the oldest first."""
    rows = connection.execute(
        "SELECT at, task, number, action, who, reason, digest, position FROM model_decision"
        " ORDER BY position"
    )
    return tuple(map(_to_decision, rows))


def list_champions(decisions: Collection[Decision]) -> list[Decision]:
    """Return the promotions that one roll-back after the other leads to, the present one last.

    >>> steps = [(1, Action.PROMOTE), (2, Action.PROMOTE), (1, Action.ROLL_BACK)]
    >>> made = list_champions([Decision("", "t", n, action, "", "", None) for n, action in steps])
    >>> [one.number for one in made]
    [1]
    """
    champions: list[Decision] = []
    for decision in decisions:
        if decision.action is Action.PROMOTE and decision.number is not None:
            champions.append(decision)
        elif decision.action is Action.ROLL_BACK and champions:
            champions.pop()
    return champions


def find_shadow(decisions: Collection[Decision]) -> Decision | None:
    """Return the decision by which a version is in shadow now."""
    shadow: Decision | None = None
    for decision in decisions:
        is_same = shadow is not None and decision.number == shadow.number
        if decision.action is Action.SHADOW:
            shadow = decision
        elif decision.action is Action.END_SHADOW or (
            decision.action in (Action.PROMOTE, Action.ROLL_BACK) and is_same
        ):
            shadow = None
    return shadow


def is_withdrawn(decisions: Sequence[Decision], digest: str | None) -> bool:
    """Say whether the signature of a manifest was withdrawn, and nobody has signed it since.

    >>> steps = [Decision("", "t", 1, one, "", "", "d") for one in (Action.SIGN, Action.WITHDRAW)]
    >>> is_withdrawn(steps, "d"), is_withdrawn(steps[::-1], "d")
    (True, False)
    """
    signatures = (Action.SIGN, Action.WITHDRAW)
    made = [one.action for one in decisions if one.digest == digest and one.action in signatures]
    return made[-1:] == [Action.WITHDRAW]


def find_proposal(decisions: Collection[Decision]) -> Decision | None:
    """Return the latest proposal, unless a promotion or a roll-back came after it."""
    proposal = None
    for decision in decisions:
        if decision.action is Action.PROPOSE:
            proposal = decision
        elif decision.action in (Action.PROMOTE, Action.ROLL_BACK):
            proposal = None
    return proposal


def _to_decision(row: tuple[Any, ...]) -> Decision:
    at, task, number, action, who, reason, digest, position = row
    return Decision(at, task, number, Action(action), who, reason, digest, position)
