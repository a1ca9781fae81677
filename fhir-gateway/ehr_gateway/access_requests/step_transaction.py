"""The platform's own hand: writes the Consents that a lawful step leads to.

A clinician may not write a Consent, else he could give himself access. What is written here was
judged by the function that calls; nothing of it comes from a body as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.audit_log import recorder
from ehr_gateway.database import Connection
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import Transaction, open_transaction
from ehr_privacy.consent import Predicate, Requester, load_roles, parse_scopes

__all__ = ["StepTransaction", "step_transaction"]

_TRUE = Predicate("TRUE", {})


class _ServiceAccess(Access):
    """The service's access: it refers to records that the caller was found to see."""

    @property
    def read_predicate(self) -> Predicate:
        """Return the condition under which it may refer to a version: always."""
        return _TRUE


class StepTransaction:
    """One step under way: the connection, and Consents as they are to be written."""

    def __init__(self, transaction: Transaction, access: Access) -> None:
        self._transaction = transaction
        self._access = access
        # Whom the step is about, for the audit.
        self.patients: list[str] = []

    @property
    def connection(self) -> Connection:
        """The transaction that everything of the step belongs to."""
        return self._transaction.connection

    def create_consent(self, consent: Mapping[str, Any]) -> str:
        """Write a new Consent and return its id."""
        identity = new_id()
        self._transaction.create(prepare_draft(dict(consent), identity, self._access, "Consent"))
        return identity

    def update_consent(self, identity: str, **changes: Any) -> None:
        """Write the next version of a Consent with some members changed."""
        row = self.connection.execute(
            "SELECT body FROM resource WHERE type = 'Consent' AND id = ? AND current = 1"
            " AND deleted = 0",
            (identity,),
        ).fetchone()
        if row is None:
            return  # the patient took it away; there is nothing left to end
        body = {**parse(row[0]), **changes}
        self._transaction.update(prepare_draft(body, identity, self._access, "Consent"))


@contextmanager
def step_transaction(context: RequestContext, operation: str) -> Iterator[StepTransaction]:
    """Open one transaction for a step: Consents, rows, notices and the audit, or none of them.

    The route has begun the audit; a refusal raised inside is on record as that.
    """
    access = _ServiceAccess(
        requester=_service_requester(),
        now_ms=context.access.now_ms,
        request_id=context.access.request_id,
        base=context.access.base,
    )
    audit_context = context.begin_audit("operation", operation)
    with open_transaction(context.gateway.store, access) as inner:
        step = StepTransaction(inner, access)
        yield step
        for patient in step.patients or (None,):
            recorder.record_rows(
                inner.connection, recorder.build_event_rows(audit_context, patient)
            )


def _service_requester() -> Requester:
    platform = load_roles().platform
    return Requester(
        role="system",
        person="access-requests",
        organization=platform,
        scopes=parse_scopes("system/Consent.cruds"),
    )
