"""create: a new resource under an id of the server's (R4 §3.1.0.8)."""

from __future__ import annotations

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.ids import new_id
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.conditional_match import find_only_match
from ehr_gateway.transaction.event_loop_writer import WriteJob, run_write
from ehr_gateway.transaction.prepared_resource import validate_draft
from ehr_gateway.transaction.transaction import WriteResult, transaction_on

__all__ = ["create", "create_if_none", "prepare_create"]


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


def create_if_none(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    criteria: str,
    *,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Store a new resource unless one that the requester can find meets the criteria."""
    return run_write(
        store, prepare_create(store, access, resource_type, body, criteria, audit=audit)
    )


def prepare_create(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    criteria: str | None = None,
    *,
    audit: AuditHook | None = None,
) -> WriteJob[WriteResult]:
    """Do all of a create that needs no database; return what does the rest."""
    draft = validate_draft(parse(body), new_id(), access, resource_type)

    def job(connection: Connection) -> WriteResult:
        with transaction_on(store, connection, access, audit) as transaction:
            found = (
                find_only_match(transaction, resource_type, criteria)
                if criteria is not None
                else None
            )
            if found is None:
                return WriteResult(transaction.create(draft), created=True)
            # By the rule of searching, since it was found by one.
            existing = read_on(connection, access, resource_type, found, "search")
            return WriteResult(existing, created=False)

    return job
