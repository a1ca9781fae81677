"""The transaction of a lawful step: Consents, request rows, notices and audit, all or none.

Consents are written as the platform's own service: a clinician may not write a Consent, else they
could give themselves access. The calling function has decided that the step is allowed, and no part
of a Consent is copied from a request body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import FactCorrection, read_current_body
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import Transaction, open_transaction
from ehr_privacy.consent import Predicate, Requester, load_roles, parse_scopes

__all__ = ["StepTransaction", "step_transaction"]

_TRUE = Predicate("TRUE", {})


class _ServiceAccess(Access):
    """The service's access: it may refer to records that the caller was checked to see."""

    @property
    def read_predicate(self) -> Predicate:
        """The predicate of versions it may refer to: all."""
        return _TRUE


class StepTransaction:
    """An open step: its connection, and what to write as the platform's service."""

    def __init__(self, transaction: Transaction, access: Access) -> None:
        self._transaction = transaction
        self._access = access
        # The patients the step is about: each gets an audit event.
        self.patients: list[str] = []
        # The records it changed, for those events.
        self.entities: list[str] = []

    @property
    def connection(self) -> Connection:
        """The connection of the transaction."""
        return self._transaction.connection

    def create_consent(self, consent: Mapping[str, Any]) -> str:
        """Create a Consent and return its id."""
        return self.create({**consent, "resourceType": "Consent"})

    def create(self, resource: dict[str, Any]) -> str:
        """Create a resource and return its id."""
        identity = new_id()
        draft = prepare_draft(resource, identity, self._access, resource["resourceType"])
        self._transaction.create(draft)
        return identity

    def update_consent(self, identity: str, **changes: Any) -> None:
        """Update a Consent with some members replaced; do nothing if it was deleted."""
        body = self.read("Consent", identity)
        if body is not None:
            self.update({**parse(body), **changes})

    def read(self, kind: str, identity: str) -> bytes | None:
        """Return the JSON of a resource's current version; None if there is none."""
        return read_current_body(self.connection, kind, identity)

    def update(self, resource: dict[str, Any]) -> None:
        """Store the next version of a resource; it stays its author's."""
        kind, identity = resource["resourceType"], resource["id"]
        self._transaction.update(prepare_draft(resource, identity, self._access, kind))

    def correct_facts(self, kind: str, identity: str, correction: FactCorrection) -> None:
        """Correct what a record is judged by; its content stays as it is."""
        self._transaction.correct_facts(kind, identity, [correction])

    def delete(self, kind: str, identity: str) -> None:
        """Delete a resource."""
        self._transaction.delete(kind, identity)


@contextmanager
def step_transaction(
    context: RequestContext, operation: str, scopes: str = "system/Consent.cruds"
) -> Iterator[StepTransaction]:
    """Open the transaction of a step, and record its audit events at the end.

    `scopes` are those of the platform's service in whose name it writes. An error that is raised
    inside rolls everything back and is recorded as a refusal.
    """
    access = _ServiceAccess(
        requester=_service_requester(scopes),
        now_ms=context.access.now_ms,
        request_id=context.access.request_id,
        base=context.access.base,
    )
    audit_context = context.begin_audit("operation", operation)

    def record_step(
        connection: Connection, _: Sequence[Version], consequences: Sequence[Consequence]
    ) -> None:
        for patient in step.patients or (None,):
            rows = recorder.build_event_rows(audit_context, patient, entities=step.entities)
            recorder.record_rows(connection, rows)
        rows = recorder.build_opened_rows(audit_context, consequences)
        recorder.record_rows(connection, rows)

    with open_transaction(context.gateway.store, access, record_step) as inner:
        step = StepTransaction(inner, access)
        yield step


def _service_requester(scopes: str) -> Requester:
    platform = load_roles().platform
    return Requester(
        role="system",
        person="access-requests",
        organization=platform,
        scopes=parse_scopes(scopes),
    )
