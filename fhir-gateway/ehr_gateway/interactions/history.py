"""history of one resource, newest first (R4 §3.1.0.11)."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import NotFound
from ehr_fhir.query import DEFAULT_COUNT, LARGEST_COUNT
from ehr_gateway.access import Access
from ehr_gateway.cursor import open_cursor, seal_cursor
from ehr_gateway.interactions.read import current_visible
from ehr_gateway.store import Store, Version

__all__ = ["HistoryPage", "history"]


@dataclass(frozen=True)
class HistoryPage:
    """One page: the versions with the method that made each, and how many there are in all."""

    versions: tuple[tuple[Version, str], ...]
    total: int
    next_cursor: str | None


def history(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    *,
    count: int | None = None,
    cursor: str | None = None,
) -> HistoryPage:
    """Return those versions that the requester may see; none if the current one is hidden."""
    visible = access.read
    scope = ["history", resource_type, identity]
    before = open_cursor(store.cursor_key, scope, cursor)[0] if cursor else None
    limit = min(DEFAULT_COUNT if count is None else max(count, 1), LARGEST_COUNT)
    where = f"r.type = :type AND r.id = :id AND ({visible.sql})"
    params = {"type": resource_type, "id": identity, **visible.params}
    with store.reading() as connection:
        if not current_visible(connection, access, resource_type, identity):
            raise NotFound(f"There is no {resource_type} with this id.")
        total = connection.execute(
            f"SELECT COUNT(*) FROM resource r WHERE {where}",  # noqa: S608
            params,
        ).fetchone()[0]
        rows = connection.execute(
            f"SELECT r.* FROM resource r WHERE {where}"  # noqa: S608
            " AND (:before IS NULL OR r.version < :before) ORDER BY r.version DESC LIMIT :limit",
            {**params, "before": before, "limit": limit + 1},
        ).fetchall()
    versions = tuple((Version.of(row), str(row["method"])) for row in rows[:limit])
    more = len(rows) > limit
    last = versions[-1][0].version if more else 0
    return HistoryPage(
        versions, total, seal_cursor(store.cursor_key, scope, [last]) if more else None
    )
