"""delete: the resource is gone, its history stays (R4 §3.1.0.7)."""

from __future__ import annotations

from ehr_gateway.access import Access
from ehr_gateway.store import AuditHook, Store, Version
from ehr_gateway.writing import transaction

__all__ = ["delete"]


def delete(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    *,
    if_match: int | None = None,
    audit: AuditHook | None = None,
) -> Version:
    """Mark a resource as deleted.

    References to it are not searched for: that a hidden record refers to it would show.
    """
    with transaction(store, access, audit) as writing:
        return writing.delete(resource_type, identity, if_match)
