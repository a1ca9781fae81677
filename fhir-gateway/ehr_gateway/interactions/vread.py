"""vread: one version of one resource (R4 §3.1.0.3)."""

from __future__ import annotations

from ehr_fhir.errors import Gone, NotFound
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.visible import is_current_visible

__all__ = ["vread", "vread_on"]


def vread(store: Store, access: Access, resource_type: str, identity: str, version: int) -> Version:
    """Return a version if its facts and the current version's permit it under today's rules."""
    with store.read_transaction() as connection:
        return vread_on(connection, access, resource_type, identity, version)


def vread_on(
    connection: Connection, access: Access, resource_type: str, identity: str, version: int
) -> Version:
    """Read a version on an open connection, for example inside a transaction."""
    access.require_scope("vread", resource_type)
    visible = access.read_predicate
    row = connection.execute(
        "SELECT r.* FROM resource r"  # noqa: S608
        " WHERE r.type = :type AND r.id = :id AND r.version = :version"
        f" AND ({visible.sql})",
        {"type": resource_type, "id": identity, "version": version, **visible.params},
    ).fetchone()
    if row is None or not is_current_visible(connection, access, resource_type, identity):
        raise NotFound(f"There is no {resource_type} with this id and version.")
    stored = Version.from_row(row)
    if stored.deleted:
        raise Gone(f"This version says that the {resource_type} was deleted.")
    return stored
