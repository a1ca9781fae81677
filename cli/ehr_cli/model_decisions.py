"""Decisions about models and the platform's audit log: told to it, and held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehr_fhir.errors import Unavailable
from ehr_gateway.audit_log.lineage import list_model_decisions, record_new_lineage

if TYPE_CHECKING:
    from collections.abc import Callable

    from ehr_gateway.database import Database
    from ehr_models.promotion import PromotionRegister

__all__ = ["DecisionSource", "LoggedDecisions", "record_decisions"]

_PROGRAM = "models"


@dataclass(eq=False)
class LoggedDecisions:
    """The decisions that the audit log of a database has; it is set once the gateway is made."""

    database: Database | None = None

    def read_decisions(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of the leaves, in their order."""
        if self.database is None:
            raise Unavailable("The audit log is not open, so no model scores.")
        with self.database.read_transaction() as connection:
            return [leaf.record for leaf in list_model_decisions(connection)]


@dataclass
class DecisionSource:
    """The decisions of a data folder, for the log. They are read only where any was added."""

    data: Path
    # The state of the file that was told last, and the one that is being told.
    _told: object = field(default=None, init=False)
    _telling: object = field(default=None, init=False)

    def read_new(self) -> Sequence[Mapping[str, Any]]:
        """Return all decisions where any may be new; the log leaves out those that it has."""
        if not (self.data / "models" / "decisions.db").exists():
            return ()
        register = self._open()
        self._telling = register.read_state()
        return () if self._telling == self._told else register.list_records()

    def mark_recorded(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep that nothing is to be told until the file changes."""
        self._told = self._telling

    def _open(self) -> PromotionRegister:
        from ehr_models.model_store import ModelStore
        from ehr_models.promotion import PromotionRegister

        return PromotionRegister(ModelStore(self.data))


def record_decisions(database: Database, data: Path, clock: Callable[[], int]) -> int:
    """Tell the log the decisions that it does not have yet; return how many those were."""
    return record_new_lineage(database, DecisionSource(data), clock, program=_PROGRAM)
