"""Checks that only the whole transaction can make: the right to deposit, and references."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.transaction.integrity import (
    ReferenceCheck,
    canonical_reference,
    canonical_references,
)
from ehr_gateway.transaction.prepared_resource import PreparedResource
from ehr_gateway.transaction.stored_state import PreviousState
from ehr_gateway.transaction.write_permission import WriteInteraction, WritePermission
from ehr_privacy.consent import Record, load_roles

__all__ = ["DeferredCheck", "defer_check"]


@dataclass(frozen=True)
class DeferredCheck:
    """What is left to be checked of one write; a delete names nothing."""

    interaction: WriteInteraction
    record: Record
    references: ReferenceCheck | None
    # Whether the right to deposit has to be shown for the record's patients.
    deposits: bool = True

    @property
    def has_lost_reference(self) -> bool:
        """Whether the version before names something that this one does not."""
        if self.references is None or not self.references.kept:
            return False
        named = {canonical_reference(name) for _, name in self.references.prepared.references}
        return not self.references.kept <= named


def defer_check(
    permission: WritePermission,
    interaction: WriteInteraction,
    prepared: PreparedResource,
    previous: PreviousState | None,
) -> DeferredCheck:
    """Return what is left to be checked of a write, given what the version before says."""
    if previous is None:
        return DeferredCheck(interaction, prepared.record, ReferenceCheck(prepared))
    # What an organisation wrote it can correct for ever, also once the account is closed; not what
    # the platform works out.
    is_derived = permission.is_platform_service and prepared.record.type in load_roles().derived
    is_own = permission.is_author(prepared.record.author) and not is_derived
    deposits = not is_own or not prepared.record.patients <= previous.facts.record.patients
    kept = canonical_references(previous.resource)
    return DeferredCheck(interaction, prepared.record, ReferenceCheck(prepared, kept), deposits)
