"""Decisions about models held against the platform's audit log, which keeps each as a leaf.

The file of the decisions can be changed, or an older one put in its place; the leaves cannot. A
decision that the log was not told of yet is newer than all of its leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ehr_privacy.audit import lineage_id

__all__ = ["DecisionLog", "LogComparison", "compare_with_log"]

# A record of a decision, as `ehr_privacy.audit.lineage` describes it.
Record = Mapping[str, Any]


class DecisionLog(Protocol):
    """The platform's log, as far as it tells of decisions about models."""

    def read_decisions(self) -> Sequence[Record]:
        """Return the records of the leaves, in their order."""


@dataclass(frozen=True)
class LogComparison:
    """What differs between a file of decisions and the log, as numbers of decisions.

    `missing`: the log has them, and the file has not, or has them changed. `put_in`: the file has
    them, and the log, which has later ones, has not. `waiting`: the log was not told yet.
    """

    missing: tuple[int, ...]
    put_in: tuple[int, ...]
    waiting: frozenset[int]

    @property
    def holds(self) -> bool:
        """Whether the file has just what the log has, and what is newer."""
        return not (self.missing or self.put_in)


def compare_with_log(decisions: Iterable[Record], leaves: Iterable[Record]) -> LogComparison:
    """Compare the records of a file of decisions with those of the log.

    >>> first, second = {"seq": 1, "who": "ng"}, {"seq": 2, "who": "tse"}
    >>> compare_with_log([first], [first, second]).missing
    (2,)
    >>> compare_with_log([first, second], [first]).waiting
    frozenset({2})
    """
    known = {lineage_id(record): int(record["seq"]) for record in decisions}
    told = {lineage_id(record): int(record["seq"]) for record in leaves}
    newest = max(told.values(), default=0)
    untold = {known[event] for event in known.keys() - told.keys()}
    return LogComparison(
        missing=tuple(sorted(told[event] for event in told.keys() - known.keys())),
        put_in=tuple(sorted(number for number in untold if number <= newest)),
        waiting=frozenset(number for number in untold if number > newest),
    )
