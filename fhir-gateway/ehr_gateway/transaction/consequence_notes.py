"""What patients and stewards are told of a transaction: records moved, or opened by a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.consequences import Consequence, ConsequenceKind
from ehr_gateway.store.inheritance import InheritedChange
from ehr_gateway.store.loosened_restrictions import LoosenedRestrictions
from ehr_gateway.store.store import Version
from ehr_gateway.transaction.write_permission import WritePermission
from ehr_gateway.transaction.written_facts import WrittenFacts
from ehr_privacy.consent import Record
from ehr_privacy.consent.inherited_facts import Key

__all__ = ["ConsequenceNotes"]


class ConsequenceNotes:
    """Collects the consequences of one transaction."""

    def __init__(self, access: Access, connection: Connection, permission: WritePermission) -> None:
        self.consequences: list[Consequence] = []
        self._access = access
        self._connection = connection
        self._permission = permission

    def note_recorded_choices(self, written: Mapping[Key, WrittenFacts]) -> None:
        """Note the Consents that a steward wrote for patients, who are told of it."""
        for each in written.values():
            if each.record.type == "Consent":
                cause = each.cause(self._access.now_ms)
                self._note("recorded", each.record, cause, each.record.patients)

    def note_move(self, current: Version, before: Record, after: Record) -> None:
        """Note that the author moved a record, of which its patients are told."""
        if before.patients != after.patients and self._permission.is_author(current.author):
            cause = f"{after.type}/{after.id}:{current.version + 1}"
            self._note("moved", after, cause, before.patients | after.patients)

    def note_loosenings(
        self, written: Mapping[Key, WrittenFacts], changes: Mapping[Key, InheritedChange]
    ) -> None:
        """Note whose restrictions closed a record until now, and close it no more.

        Records that name a written one may open with it, whoever wrote them. A move by the platform
        or a steward is told of by other means, and so is what a steward corrects in the record.
        """
        now_ms = self._access.now_ms
        restrictions = LoosenedRestrictions(self._connection, now_ms)
        for key, stored in written.items():
            before = stored.before
            if before is None or (stored.version is None and not self._is_for_patient):
                continue
            after = changes[key].after if key in changes else stored.record
            is_own = stored.version is None or self._permission.is_author(stored.record.author)
            if is_own or before.record.patients == after.patients:
                found = restrictions.find(before.record, after)
                self._note("loosened" if is_own else "opened", after, stored.cause(now_ms), found)
        cause = next((stored.cause(now_ms) for stored in written.values()), "")
        for key in changes.keys() - written.keys():
            found = restrictions.find(changes[key].before, changes[key].after)
            self._note("opened", changes[key].after, cause, found)

    @property
    def _is_for_patient(self) -> bool:
        """Whether patients act themselves, who need not be told what they did."""
        return self._access.requester.role == "patient"

    def _note(
        self,
        kind: ConsequenceKind,
        record: Record,
        cause: str,
        patients: Iterable[str],
    ) -> None:
        requester = self._access.requester
        told = frozenset(patients) - ({requester.patient} if self._is_for_patient else set())
        if told:
            self.consequences.append(
                Consequence(kind, record, cause, told, requester, self._access.now_ms)
            )
