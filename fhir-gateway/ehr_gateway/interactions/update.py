"""update: a new version of a resource (R4 §3.1.0.4)."""

from __future__ import annotations

from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.ids import new_id
from ehr_gateway.store.store import AuditHook, Store
from ehr_gateway.transaction.conditional_match import find_update_target
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import WriteResult, open_transaction, transaction_on
from ehr_gateway.transaction.write_batch import WriteJob, run_write

__all__ = ["prepare_update", "update", "update_matching"]


def update(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    body: bytes,
    *,
    if_match: int | None = None,
    only_new: bool = False,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Store a new version; `if_match` is the number of the version that the client has read.

    With `only_new` (If-None-Match: *) a resource that exists is refused.
    """
    job = prepare_update(
        store, access, resource_type, identity, body, if_match, only_new=only_new, audit=audit
    )
    return run_write(store, job)


def prepare_update(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    body: bytes,
    if_match: int | None = None,
    *,
    only_new: bool = False,
    audit: AuditHook | None = None,
) -> WriteJob[WriteResult]:
    """Validate and index the resource; return a job that stores it in a transaction."""
    resource = parse(body)
    draft = prepare_draft(resource, identity, access, resource_type)
    if resource.get("id") != identity:
        text = "The `id` in the content must be the one in the address."
        raise Invalid(text, expression=f"{resource_type}.id")

    def job(connection: Connection) -> WriteResult:
        with transaction_on(store, connection, access, audit) as transaction:
            return transaction.update(draft, if_match, only_new=only_new)

    return job


def update_matching(
    store: Store,
    access: Access,
    resource_type: str,
    criteria: str,
    body: bytes,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Store a new version of the only resource that meets the criteria, or create one."""
    resource = parse(body)
    draft = prepare_draft(resource, resource.get("id", new_id()), access, resource_type)
    with open_transaction(store, access, audit) as transaction:
        identity = find_update_target(transaction, resource_type, resource, criteria, if_match)
        if identity is None:
            return WriteResult(transaction.create(draft), created=True)
        return transaction.update(draft.with_id(identity), if_match)
