"""read: the current version of one resource (R4 §3.1.0.2)."""

from __future__ import annotations

from ehr_gateway.access import Access
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.visible import read_on

__all__ = ["read"]


def read(store: Store, access: Access, resource_type: str, identity: str) -> Version:
    """Return the current version; a hidden resource gives the same error as an absent one."""
    with store.read_transaction(single_statement=True) as connection:
        return read_on(connection, access, resource_type, identity, to_disclose=True)
