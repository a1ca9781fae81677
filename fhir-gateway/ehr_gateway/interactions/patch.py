"""patch: a new version that changes parts of the current one (R4 §3.1.0.6)."""

from __future__ import annotations

from ehr_fhir.errors import NotFound
from ehr_fhir.patch.patch import Patch
from ehr_gateway.access import Access
from ehr_gateway.store.store import AuditHook, Store
from ehr_gateway.transaction.conditional_match import find_only_match
from ehr_gateway.transaction.integrity import find_ids_on
from ehr_gateway.transaction.patching import PatchedDraft, apply_patch_to_current
from ehr_gateway.transaction.transaction import WriteResult, open_transaction

__all__ = ["patch", "patch_matching"]


def patch(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    changes: Patch,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Patch the current version; a hidden resource gives the same error as an absent one."""
    patched = apply_patch_to_current(store, access, resource_type, identity, changes, if_match)
    with open_transaction(store, access, audit) as transaction:
        return transaction.patch(resource_type, identity, changes, if_match, patched=patched)


def patch_matching(
    store: Store,
    access: Access,
    resource_type: str,
    criteria: str,
    changes: Patch,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Patch the only resource that meets the criteria."""
    patched = _apply_to_match(store, access, resource_type, criteria, changes, if_match)
    with open_transaction(store, access, audit) as transaction:
        identity = find_only_match(transaction, resource_type, criteria)
        if identity is None:
            raise NotFound(f"There is no {resource_type} that meets the criteria.")
        return transaction.patch(resource_type, identity, changes, if_match, patched=patched)


def _apply_to_match(
    store: Store,
    access: Access,
    resource_type: str,
    criteria: str,
    changes: Patch,
    if_match: int | None,
) -> PatchedDraft | None:
    with store.read_transaction() as connection:
        ids = find_ids_on(store, connection, access, resource_type, criteria)
    if len(ids) != 1:
        return None
    return apply_patch_to_current(store, access, resource_type, ids[0], changes, if_match)
