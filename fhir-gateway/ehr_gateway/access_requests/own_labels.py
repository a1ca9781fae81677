"""Labels that patients put on their own records, and take back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from ehr_fhir.errors import Forbidden
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import FactCorrection
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.transaction import open_transaction
from ehr_privacy.consent.held_facts import PATIENT, held_values

__all__ = ["change_own_labels"]


def change_own_labels(
    context: RequestContext,
    audit_context: recorder.AuditContext,
    resource_type: str,
    logical_id: str,
    labels: Collection[str],
    action: Literal["add", "withdraw"],
) -> frozenset[str]:
    """Add labels of the patient's own choice to a record, or take them back; return theirs.

    Raises NotFound for a record that the patient does not see, Forbidden for anybody else.
    """
    requester = context.access.requester
    if requester.role != "patient" or requester.patient is None:
        raise Forbidden("Only patients put labels on their own records here.")

    def record_change(
        connection: Connection, _: Sequence[Version], consequences: Sequence[Consequence]
    ) -> None:
        entities = [f"{resource_type}/{logical_id}"]
        rows = recorder.build_event_rows(audit_context, requester.patient, entities=entities)
        rows += recorder.build_opened_rows(audit_context, consequences)
        recorder.record_rows(connection, rows)

    with open_transaction(context.gateway.store, context.access, record_change) as transaction:
        connection = transaction.connection
        read_on(connection, context.access, resource_type, logical_id)
        corrections = [
            FactCorrection("label", label, action, "patient") for label in sorted(labels)
        ]
        change = transaction.correct_facts(resource_type, logical_id, corrections)
        if requester.patient not in change.before.record.patients:
            # The directory is visible to everybody and belongs to nobody.
            raise Forbidden("Only patients put labels on their own records here.")
    return frozenset(held_values(change.after.held, "label", PATIENT))
