"""delete: the resource is gone, its history stays (R4 §3.1.0.7)."""

from __future__ import annotations

from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.transaction.conditional_match import find_only_match
from ehr_gateway.transaction.transaction import open_transaction, transaction_on
from ehr_gateway.transaction.write_batch import WriteJob, run_write

__all__ = ["delete", "delete_matching", "prepare_delete"]


def delete(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> Version:
    """Store a deletion marker as the new version.

    Resources that refer to it are not searched for: a refusal would reveal that a hidden record
    does.
    """
    job = prepare_delete(store, access, resource_type, identity, if_match, audit=audit)
    return run_write(store, job)


def prepare_delete(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    if_match: int | None = None,
    *,
    audit: AuditHook | None = None,
) -> WriteJob[Version]:
    """Return a job that stores the deletion marker in a transaction."""

    def job(connection: Connection) -> Version:
        with transaction_on(store, connection, access, audit) as transaction:
            return transaction.delete(resource_type, identity, if_match)

    return job


def delete_matching(
    store: Store,
    access: Access,
    resource_type: str,
    criteria: str,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> Version | None:
    """Delete the only resource that meets the criteria; several are refused, none is no error."""
    with open_transaction(store, access, audit) as transaction:
        identity = find_only_match(transaction, resource_type, criteria)
        return None if identity is None else transaction.delete(resource_type, identity, if_match)
