"""The current version of one resource, under the consent condition of one request."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from ehr_fhir.errors import Gone, NotFound
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Version

__all__ = ["is_current_visible", "read_on"]


def read_on(
    connection: Connection,
    access: Access,
    resource_type: str,
    identity: str,
    interaction: Literal["read", "search"] = "read",
) -> Version:
    """Read as a connection sees the store, for example inside a transaction."""
    visible = access.predicate(interaction)
    row = connection.execute(
        _statement(visible.sql), {"type": resource_type, "id": identity, **visible.params}
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no {resource_type} with this id.")
    version = Version.from_row(row)
    if version.deleted:
        raise Gone(f"This {resource_type} was deleted.")
    return version


# A long text: to put it together at each request takes as long as a part of the look-up.
@lru_cache(maxsize=1024)
def _statement(condition: str) -> str:
    return (
        "SELECT r.* FROM resource r WHERE r.type = :type AND r.id = :id AND r.current = 1"  # noqa: S608
        f" AND ({condition})"
    )


def is_current_visible(
    connection: Connection, access: Access, resource_type: str, identity: str
) -> bool:
    """Say whether the current version, or the mark that it was deleted, may be seen.

    Without it no older version is shown either: a label or a patient put right later would still
    be open in the version before.
    """
    visible = access.read_predicate
    row = connection.execute(
        "SELECT 1 FROM resource r WHERE r.type = :type AND r.id = :id AND r.current = 1"  # noqa: S608
        f" AND ({visible.sql})",
        {"type": resource_type, "id": identity, **visible.params},
    ).fetchone()
    return row is not None
