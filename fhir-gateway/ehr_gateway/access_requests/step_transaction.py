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
from ehr_gateway.transaction.prepared_resource import validate_draft
from ehr_gateway.transaction.transaction import Transaction, open_transaction
from ehr_privacy.consent import Predicate, Requester, load_roles, parse_scopes

__all__ = ["Writing", "step"]

_ALL = Predicate("TRUE", {})


class _ServiceAccess(Access):
    """The service's access: it refers to records that the caller was found to see."""

    @property
    def read(self) -> Predicate:
        """Return the condition under which it may refer to a version: always."""
        return _ALL


class Writing:
    """One step under way: the connection, and Consents as they are to be written."""

    def __init__(self, writing: Transaction, access: Access) -> None:
        self._writing = writing
        self._access = access
        # Whom the step is about, for the audit.
        self.patients: list[str] = []

    @property
    def connection(self) -> Connection:
        """The transaction that everything of the step belongs to."""
        return self._writing.connection

    def create(self, consent: Mapping[str, Any]) -> str:
        """Write a new Consent and return its id."""
        identity = new_id()
        self._writing.create(validate_draft(dict(consent), identity, self._access, "Consent"))
        return identity

    def change(self, identity: str, **changes: Any) -> None:
        """Write the next version of a Consent with some members changed."""
        row = self.connection.execute(
            "SELECT body FROM resource WHERE type = 'Consent' AND id = ? AND current = 1"
            " AND deleted = 0",
            (identity,),
        ).fetchone()
        if row is None:
            return  # the patient took it away; there is nothing left to end
        body = {**parse(row[0]), **changes}
        self._writing.update(validate_draft(body, identity, self._access, "Consent"))


@contextmanager
def step(context: RequestContext, operation: str) -> Iterator[Writing]:
    """Open one transaction for a step: Consents, rows, notices and the audit, or none of them.

    The route has begun the audit; a refusal raised inside is on record as that.
    """
    access = _ServiceAccess(
        requester=_requester(),
        now_ms=context.access.now_ms,
        request_id=context.access.request_id,
        base=context.access.base,
    )
    audit_context = context.begin_audit("operation", operation)
    with open_transaction(context.gateway.store, access) as writing:
        opened = Writing(writing, access)
        yield opened
        for patient in opened.patients or (None,):
            recorder.record(writing.connection, recorder.about(audit_context, patient))


def _requester() -> Requester:
    platform = load_roles().platform
    return Requester(
        role="system",
        person="access-requests",
        organization=platform,
        scopes=parse_scopes("system/Consent.cruds"),
    )
