"""Which version of a model scores: promoted by two people, and only past its gates.

One person proposes a version, another confirms it. Its gates are judged when it is trained and
stand in its signed folder. A version in shadow scores beside the champion, and nobody is shown
what it says. Rolling back takes one person, since it takes a model away from patients. Decisions
are only added, never changed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from ehr_fhir.errors import Conflict, Fault, Invalid, NotFound
from ehr_models.model_store import ModelStore, ModelVersion

__all__ = [
    "GATES_FILE",
    "SUMMARY_FILE",
    "Action",
    "Decision",
    "GateResult",
    "PromotionRegister",
    "read_gates",
    "write_gates",
]

# The file of a version that holds how its gates were judged.
GATES_FILE = "gates.json"
# What a list of models shows of a version: title and verdict by language, grade, results.
SUMMARY_FILE = "summary.json"
_DATABASE = "decisions.db"
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


@dataclass(frozen=True)
class GateResult:
    """One condition that a version has to meet before it may score.

    `message` is the code of what `text` says and `values` what stands in it, so that a page may say
    the same in another language.
    """

    gate: str
    is_met: bool
    text: str
    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def read_gates(version: ModelVersion) -> tuple[GateResult, ...]:
    """Return how the gates of a version were judged when it was trained."""
    return tuple(GateResult(**result) for result in version.read_json(GATES_FILE))


def write_gates(results: Collection[GateResult]) -> bytes:
    """Return the content of a version's GATES_FILE."""
    return json.dumps([vars(result) for result in results], indent=1).encode()


class PromotionRegister:
    """The decisions about the models of a data folder."""

    def __init__(
        self, store: ModelStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.store = store
        self.clock = clock

    def promote(
        self, task: str, number: int, who: str, reason: str, *, names: Collection[str] = ()
    ) -> Decision:
        """Propose a version as champion, or confirm it if somebody else has proposed just this one.

        `names` are those of all accounts of the person. Conflict where a gate is not met, where the
        version scores already, and for who proposed it.
        """
        version = self.store.read_version(task, number)
        gates = read_gates(version)
        unmet = [result.text for result in gates if not result.is_met]
        if not gates:
            raise Conflict(f"Version {number} may not score: its gates were not judged.")
        if unmet:
            raise Conflict(f"Version {number} may not score: {' '.join(unmet)}")
        own = {who, *names}
        with self._transaction() as connection:
            decisions = _list(connection, task)
            if _find_champion(decisions) == number:
                raise Conflict(f"Version {number} of {task} scores already.")
            proposal = _find_proposal(decisions)
            is_same = proposal is not None and proposal.digest == version.digest
            if proposal is not None and is_same and proposal.who in own:
                raise Conflict("Another person confirms a version than who proposed it.")
            action = Action.PROMOTE if is_same else Action.PROPOSE
            return self._add(connection, task, version, action, who, reason)

    def roll_back(self, task: str, who: str, reason: str) -> Decision:
        """Put the champion before the present one in its place, or none if there was none."""
        with self._transaction() as connection:
            champions = _list_champions(_list(connection, task))
            if not champions:
                raise Conflict(f"No version of {task} scores.")
            # Its files are not read: a damaged version before must not keep the present one there.
            earlier = champions[-2] if len(champions) > 1 else None
            return self._add(connection, task, earlier, Action.ROLL_BACK, who, reason)

    def set_shadow(self, task: str, number: int | None, who: str, reason: str) -> Decision:
        """Let a version score in shadow, or with None end the shadow."""
        with self._transaction() as connection:
            decisions = _list(connection, task)
            if number is None:
                if _find_shadow(decisions) is None:
                    raise Conflict(f"No version of {task} is in shadow.")
                return self._add(connection, task, None, Action.END_SHADOW, who, reason)
            if _find_champion(decisions) == number:
                raise Conflict(f"Version {number} of {task} scores: it needs no shadow.")
            version = self.store.read_version(task, number)
            return self._add(connection, task, version, Action.SHADOW, who, reason)

    def list_decisions(self, task: str) -> tuple[Decision, ...]:
        """Return the decisions about a task's model, the oldest first."""
        with closing(self._connect()) as connection:
            return _list(connection, task)

    def get_champion(self, task: str) -> ModelVersion:
        """Return the version that scores; NotFound where none was promoted.

        Fault where its number is now that of other files than were promoted.
        """
        champions = _list_champions(self.list_decisions(task))
        if not champions:
            raise NotFound(
                f"No version of {task} was promoted, so nobody is scored. Two people promote one"
                " that meets its gates: `ehr models promote`."
            )
        return self._read_decided(champions[-1])

    def get_shadow(self, task: str) -> ModelVersion | None:
        """Return the version in shadow; Fault where its number is now that of other files."""
        decided = _find_shadow(self.list_decisions(task))
        return None if decided is None else self._read_decided(decided)

    def _read_decided(self, decision: Decision) -> ModelVersion:
        version = self.store.read_version(decision.task, decision.number or 0)
        # The number of a version that was deleted is given again.
        if version.digest != decision.digest:
            raise Fault(
                f"Version {decision.number} of {decision.task} has other files than those that"
                " were decided on."
            )
        return version

    def choose_version(self, task: str, number: int | None = None) -> ModelVersion:
        """Return a version by its number; without one that which scores, else the newest."""
        versions = self.store.list_versions(task)
        if not versions:
            raise NotFound(f"No model {task} has been trained yet: run `ehr models train`.")
        if number is None and self.find_champion(task) is not None:
            return self.get_champion(task)
        return self.store.read_version(task, versions[-1] if number is None else number)

    def changed_at(self) -> int:
        """Return a number that changes with each decision; 0 where none was made."""
        path = self.store.folder / _DATABASE
        if not path.exists():
            return 0
        with closing(self._connect()) as connection:
            found = connection.execute("SELECT max(position) FROM model_decision").fetchone()
        return int(found[0] or 0)

    def find_champion(self, task: str) -> int | None:
        """Return the number of the version that scores, None where there is none."""
        return _find_champion(self.list_decisions(task))

    def find_shadow(self, task: str) -> int | None:
        """Return the number of the version that scores in shadow."""
        decided = _find_shadow(self.list_decisions(task))
        return None if decided is None else decided.number

    def find_proposal(self, task: str) -> Decision | None:
        """Return the proposal that waits for a second person."""
        return _find_proposal(self.list_decisions(task))

    def _add(
        self,
        connection: sqlite3.Connection,
        task: str,
        version: ModelVersion | Decision | None,
        action: Action,
        who: str,
        reason: str,
    ) -> Decision:
        if not reason.strip():
            raise Invalid("A decision about a model states its reason.")
        decision = Decision(
            self.clock().astimezone(UTC).isoformat(timespec="seconds"),
            task,
            None if version is None else version.number,
            action,
            who,
            reason.strip(),
            None if version is None else version.digest,
        )
        connection.execute(
            "INSERT INTO model_decision(at, task, number, action, who, reason, digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            tuple(vars(decision).values()),
        )
        return decision

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as connection:
            # The lock is taken before anything is read: of two who confirm at once one comes later.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _connect(self) -> sqlite3.Connection:
        self.store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.store.folder / _DATABASE
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        connection.executescript(_SCHEMA)
        return connection


def _list(connection: sqlite3.Connection, task: str) -> tuple[Decision, ...]:
    rows = connection.execute(
        "SELECT at, task, number, action, who, reason, digest FROM model_decision"
        " WHERE task = ? ORDER BY position",
        (task,),
    )
    return tuple(
        Decision(at, name, number, Action(action), who, reason, digest)
        for at, name, number, action, who, reason, digest in rows
    )


def _list_champions(decisions: Collection[Decision]) -> list[Decision]:
    """Return the promotions that one roll-back after the other leads to, the present one last.

    >>> steps = [(1, Action.PROMOTE), (2, Action.PROMOTE), (1, Action.ROLL_BACK)]
    >>> made = _list_champions([Decision("", "t", n, action, "", "", None) for n, action in steps])
    >>> [one.number for one in made]
    [1]
    """
    champions: list[Decision] = []
    for decision in decisions:
        if decision.action is Action.PROMOTE and decision.number is not None:
            champions.append(decision)
        elif decision.action is Action.ROLL_BACK:
            champions.pop()
    return champions


def _find_champion(decisions: Collection[Decision]) -> int | None:
    champions = _list_champions(decisions)
    return champions[-1].number if champions else None


def _find_shadow(decisions: Collection[Decision]) -> Decision | None:
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


def _find_proposal(decisions: Collection[Decision]) -> Decision | None:
    """Return the latest proposal, unless a promotion or a roll-back came after it."""
    proposal = None
    for decision in decisions:
        if decision.action is Action.PROPOSE:
            proposal = decision
        elif decision.action in (Action.PROMOTE, Action.ROLL_BACK):
            proposal = None
    return proposal
