"""Which version of a model scores: promoted by two people, and only past its gates.

One person proposes a version, another confirms it. Its gates are judged when it is trained and
stand in its signed folder. A version in shadow scores beside the champion, and nobody is shown
what it says. Rolling back takes one person, since it takes a model away from patients. Who trained
a version is none of the two who promote it. Decisions are only added, never changed, and no version
scores by decisions that contradict the platform's audit log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ehr_fhir.errors import Conflict, Fault, Invalid, NotFound, Unavailable
from ehr_models.decisions import (
    Action,
    Decision,
    find_proposal,
    find_shadow,
    insert_decision,
    is_withdrawn,
    list_champions,
    open_decisions,
    select_decisions,
)
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.recorded_decisions import DecisionLog, LogComparison, compare_with_log
from ehr_models.version_files import read_gates, read_trainer
from ehr_privacy.audit import lineage_id

__all__ = ["PromotionRegister", "RotatedKey"]

_DATABASE = "decisions.db"


@dataclass(frozen=True)
class RotatedKey:
    """What became of the versions when the key was changed: how many load, and which do not."""

    signed: int
    refused: tuple[tuple[str, int], ...]


class PromotionRegister:
    """The decisions about the models of a data folder.

    With the platform's log they are held against it before any version scores.
    """

    def __init__(
        self,
        store: ModelStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        log: DecisionLog | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.log = log

    def promote(
        self, task: str, number: int, who: str, reason: str, *, names: Collection[str] = ()
    ) -> Decision:
        """Propose a version as champion, or confirm it if somebody else has proposed just this one.

        `names` are those of all accounts of the person. Conflict where a gate is not met, where the
        version scores already, for who proposed it, and for who trained it.
        """
        version = self.store.read_version(task, number)
        gates = read_gates(version)
        unmet = [result.text for result in gates if not result.is_met]
        if not gates:
            raise Conflict(f"Version {number} may not score: its gates were not judged.")
        if unmet:
            raise Conflict(f"Version {number} may not score: {' '.join(unmet)}")
        own = {who, *names}
        trainer = read_trainer(version)
        if not trainer:
            raise Conflict(
                f"Version {number} may not score: nobody is on record who trained it. Train it "
                "with `ehr models train --as`."
            )
        if trainer & own:
            raise Conflict("Who trained a version neither proposes nor confirms it.")
        self.require_log()
        with self._transaction() as connection:
            decisions = _select(connection, task)
            if _get_champion_number(decisions) == number:
                raise Conflict(f"Version {number} of {task} scores already.")
            proposal = find_proposal(decisions)
            is_same = proposal is not None and proposal.digest == version.digest
            if proposal is not None and is_same and proposal.who in own:
                raise Conflict("Another person confirms a version than who proposed it.")
            action = Action.PROMOTE if is_same else Action.PROPOSE
            return self._add(connection, task, version, action, who, reason)

    def roll_back(self, task: str, who: str, reason: str) -> Decision:
        """Put the champion before the present one in its place, or none if there was none."""
        with self._transaction() as connection:
            champions = list_champions(_select(connection, task))
            if not champions:
                raise Conflict(f"No version of {task} scores.")
            # Its files are not read: a damaged version before must not keep the present one there.
            earlier = champions[-2] if len(champions) > 1 else None
            return self._add(connection, task, earlier, Action.ROLL_BACK, who, reason)

    def set_shadow(self, task: str, number: int | None, who: str, reason: str) -> Decision:
        """Let a version score in shadow, or with None end the shadow."""
        with self._transaction() as connection:
            decisions = _select(connection, task)
            if number is None:
                if find_shadow(decisions) is None:
                    raise Conflict(f"No version of {task} is in shadow.")
                return self._add(connection, task, None, Action.END_SHADOW, who, reason)
            if _get_champion_number(decisions) == number:
                raise Conflict(f"Version {number} of {task} scores: it needs no shadow.")
            version = self.store.read_version(task, number)
            return self._add(connection, task, version, Action.SHADOW, who, reason)

    def sign(self, task: str, number: int, who: str, reason: str) -> Decision:
        """Sign a version anew, as a decision; Fault where its files are not those of its manifest.

        Decided before it is signed: what was signed is on record, whenever a process is killed.
        """
        self.require_log()
        version = self.store.read_unsigned(task, number)
        with self._transaction() as connection:
            decision = self._add(connection, task, version, Action.SIGN, who, reason)
        self.store.sign_version(task, number)
        self.store.drop_foreign_signatures(task, number)
        return decision

    def rotate_key(self, who: str, reason: str, *, at_once: bool = False) -> RotatedKey:
        """Sign with a new key from now on.

        What the old one signed is signed anew; `at_once` its signature is withdrawn, and it loads
        no more until `sign`. Each is a decision about a version. A process that is killed leaves
        all versions as they load, but for those whose signature it has withdrawn.
        """
        self.require_log()
        numbers = [
            (task, number)
            for task in self.store.list_tasks()
            for number in self.store.list_versions(task)
        ]
        if at_once:
            if not reason.strip():
                raise Invalid("A decision about a model states its reason.")
            # What a change that was killed left lay beside the key that became known, and has
            # signed versions already.
            self.store.drop_next_key()
        decisions = self._list_all()
        key = self.store.open_next_key()
        for task, number in numbers:
            version = self._find_intact(task, number)
            if version is None or is_withdrawn(decisions, version.digest):
                continue
            action = Action.WITHDRAW if at_once else Action.SIGN
            with self._transaction() as connection:
                self._add(connection, task, version, action, who, reason)
            if not at_once:
                self.store.sign_version(task, number, key)
        self.store.replace_key()
        for one in numbers:
            self.store.drop_foreign_signatures(*one)
        refused = tuple(one for one in numbers if self._find_intact(*one) is None)
        return RotatedKey(len(numbers) - len(refused), refused)

    def _find_intact(self, task: str, number: int) -> ModelVersion | None:
        try:
            return self.store.read_version(task, number)
        except Fault:
            return None

    def list_decisions(self, task: str) -> tuple[Decision, ...]:
        """Return the decisions about a task's model, the oldest first."""
        return tuple(one for one in self._list_all() if one.task == task)

    def get_champion(self, task: str) -> ModelVersion:
        """Return the version that scores; NotFound where none was promoted.

        Fault where its number is now that of other files than were promoted, and where the
        decisions contradict the platform's log.
        """
        decisions, waiting = self._list_recorded(task)
        champions = list_champions(decisions)
        if not champions:
            raise NotFound(
                f"No version of {task} was promoted, so nobody is scored. Two people promote one"
                " that meets its gates: `ehr models promote`."
            )
        if champions[-1].position in waiting:
            raise Unavailable(
                f"The promotion of version {champions[-1].number} of {task} is not in the audit log"
                " yet: a running gateway puts it there within a second."
            )
        return self._read_decided(champions[-1], decisions)

    def get_shadow(self, task: str) -> ModelVersion | None:
        """Return the version in shadow; Fault where its number is now that of other files."""
        decisions, _ = self._list_recorded(task)
        decided = find_shadow(decisions)
        return None if decided is None else self._read_decided(decided, decisions)

    def _read_decided(self, decision: Decision, decisions: Sequence[Decision]) -> ModelVersion:
        version = self.store.read_version(decision.task, decision.number or 0)
        # The number of a version that was deleted is given again.
        if version.digest != decision.digest:
            raise Fault(
                f"Version {decision.number} of {decision.task} has other files than those that"
                " were decided on."
            )
        if is_withdrawn(decisions, version.digest):
            # A restored backup may have brought the old key back.
            raise Fault(
                f"The signature of version {decision.number} of {decision.task} was withdrawn:"
                " its key became known."
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

    def compare_log(self) -> LogComparison:
        """Compare the decisions with the platform's log; without one they hold."""
        return self._compare()[1]

    def _list_recorded(self, task: str) -> tuple[list[Decision], frozenset[int]]:
        """Return a task's decisions, and the numbers of those that the log was not told of yet.

        Fault where they contradict it.
        """
        decisions, comparison = self._compare()
        _require(comparison)
        return [one for one in decisions if one.task == task], comparison.waiting

    def require_log(self) -> None:
        """Raise Fault where the decisions contradict the platform's log."""
        _require(self.compare_log())

    def _compare(self) -> tuple[Sequence[Decision], LogComparison]:
        # The log first: what is decided meanwhile it need not have.
        leaves = None if self.log is None else self.log.read_decisions()
        decisions = self._list_all()
        records = [decision.to_record() for decision in decisions]
        return decisions, compare_with_log(records, records if leaves is None else leaves)

    def list_records(self) -> Sequence[Mapping[str, Any]]:
        """Return all decisions as records for the log, the oldest first."""
        return [decision.to_record() for decision in self._list_all()]

    def _list_all(self) -> tuple[Decision, ...]:
        if not self._path.exists():
            return ()
        with closing(self._connect()) as connection:
            return select_decisions(connection)

    def restore_from_log(self) -> int:
        """Write the decisions anew from the log, and return how many they are.

        The file of before is kept beside as `decisions.db.rejected`; what it has that is newer than
        the log's last decision is not taken over.
        """
        if self.log is None:
            raise Unavailable("There is no audit log to restore the decisions from.")
        decisions = [Decision.from_record(record) for record in self.log.read_decisions()]
        partial = self._path.with_name(f"{_DATABASE}.partial")
        partial.unlink(missing_ok=True)
        with closing(open_decisions(partial)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for decision in decisions:
                insert_decision(connection, decision)
            connection.commit()
        if self._path.exists():
            self._path.replace(self._path.with_name(f"{_DATABASE}.rejected"))
        partial.replace(self._path)
        return len(decisions)

    def read_state(self) -> tuple[object, ...]:
        """Return what changes with every decision, every change of the file, and with the log."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            known: tuple[object, ...] = ()
        else:
            known = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        leaves = () if self.log is None else self.log.read_decisions()
        return (*known, *map(lineage_id, leaves))

    def find_champion(self, task: str) -> int | None:
        """Return the number of the version that scores, None where there is none."""
        return _get_champion_number(self.list_decisions(task))

    def find_shadow(self, task: str) -> int | None:
        """Return the number of the version that scores in shadow."""
        decided = find_shadow(self.list_decisions(task))
        return None if decided is None else decided.number

    def find_proposal(self, task: str) -> Decision | None:
        """Return the proposal that waits for a second person."""
        return find_proposal(self.list_decisions(task))

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
            self._choose_position(connection),
        )
        insert_decision(connection, decision)
        return decision

    def _choose_position(self, connection: sqlite3.Connection) -> int:
        """Return the number after all of the file and the log: an older file gives none twice."""
        leaves = () if self.log is None else self.log.read_decisions()
        kept = connection.execute("SELECT max(position) FROM model_decision").fetchone()[0]
        return max([int(kept or 0), *(int(leaf["seq"]) for leaf in leaves)]) + 1

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

    @property
    def _path(self) -> Path:
        return self.store.folder / _DATABASE

    def _connect(self) -> sqlite3.Connection:
        self.store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return open_decisions(self._path)
        except sqlite3.DatabaseError as error:
            raise Fault("The file of decisions about models cannot be read.") from error


def _require(comparison: LogComparison) -> None:
    if not comparison.holds:
        raise Fault(
            "The decisions about models are not those of the audit log, so no version scores: "
            "`ehr audit verify` tells which."
        )


def _select(connection: sqlite3.Connection, task: str) -> list[Decision]:
    return [one for one in select_decisions(connection) if one.task == task]


def _get_champion_number(decisions: Collection[Decision]) -> int | None:
    champions = list_champions(decisions)
    return champions[-1].number if champions else None
