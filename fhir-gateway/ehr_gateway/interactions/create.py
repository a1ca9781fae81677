"""create: a new resource under an id of the server's (R4 §3.1.0.8)."""

from __future__ import annotations

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.ids import new_id
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.conditional_match import find_only_match
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import WriteResult, transaction_on
from ehr_gateway.transaction.write_batch import WriteJob, run_write

__all__ = ["create", "prepare_create"]


def create(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    *,
    audit: AuditHook | None = None,
) -> Version:
    """Store a new resource; an id that the client sent is not kept."""
    return run_write(store, prepare_create(store, access, resource_type, body, audit=audit)).version


def prepare_create(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    criteria: str | None = None,
    *,
    audit: AuditHook | None = None,
) -> WriteJob[WriteResult]:
    """Validate and index the resource; return a job that stores it in a transaction.

    With `criteria` (If-None-Exist) the job stores nothing if a resource that the requester can find
    meets them, and returns that one.
    """
    draft = prepare_draft(parse(body), new_id(), access, resource_type)

    def job(connection: Connection) -> WriteResult:
        with transaction_on(store, connection, access, audit) as transaction:
            match = (
                None if criteria is None else find_only_match(transaction, resource_type, criteria)
            )
            if match is None:
                return WriteResult(transaction.create(draft), created=True)
            # By the right to search, since a search found it.
            existing = read_on(connection, access, resource_type, match, "search")
            return WriteResult(existing, created=False)

    return job
