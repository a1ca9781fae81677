"""read: the current version of one resource (R4 §3.1.0.2)."""

from __future__ import annotations

from ehr_gateway.access import Access
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.visible import read_on, read_to_disclose
from ehr_gateway.tokens.access_tokens import Subject

__all__ = ["read"]


def read(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    subject: Subject | None = None,
) -> Version:
    """Return the current version; a hidden resource gives the same error as an absent one.

    With `subject`, who reads, it comes with what the audit log has to know, where the database is a
    network away.
    """
    with store.read_transaction(single_statement=True) as connection:
        if subject is None or connection.dialect == "sqlite":
            return read_on(connection, access, resource_type, identity)
        return read_to_disclose(connection, access, resource_type, identity, subject)
