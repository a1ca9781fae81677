"""Facts that a transaction has written, for what follows from them at its end."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.store.inheritance import WrittenRecord
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import StoredFacts
from ehr_privacy.consent import HeldFact, Record
from ehr_privacy.consent.inherited_facts import FactNode, FactTargets, outward_facts

__all__ = ["WrittenFacts"]


@dataclass(frozen=True)
class WrittenFacts:
    """A record whose facts the transaction has written; a correction has no version."""

    pk: int
    record: Record
    held: frozenset[HeldFact]
    before: StoredFacts | None
    targets: FactTargets
    version: Version | None = None
    has_lost_reference: bool = False
    has_redo: bool = False

    def cause(self, now_ms: int) -> str:
        """Name what is told of: the version, or the correction by its patient or a steward."""
        number = f"corrected-{now_ms}" if self.version is None else self.version.version
        return f"{self.record.type}/{self.record.id}:{number}"

    def to_written_record(self) -> WrittenRecord:
        """Return what its inheritance is worked out from."""
        before = None
        if self.before is not None:
            before = outward_facts(self.before.record, self.before.held)
        node = FactNode(self.record, self.held, self.targets)
        return WrittenRecord(self.pk, node, before, self.has_lost_reference)
