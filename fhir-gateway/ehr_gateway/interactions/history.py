"""history of a resource, a type or the whole store, newest first (R4 §3.1.0.12).

Each version is judged by its own facts and by those of the current one: what was put right later
must not stay open in the version before. A version that the requester may not see is absent in
every respect: it is not listed, not counted, and does not end the time in which an older one was
current.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.query import DEFAULT_COUNT, LARGEST_COUNT
from ehr_gateway.access import Access
from ehr_gateway.cursor import open_cursor, seal_cursor
from ehr_gateway.database import Connection
from ehr_gateway.interactions.read import current_visible
from ehr_gateway.store import Store, Version

__all__ = ["HistoryPage", "Span", "history", "history_of_all"]


@dataclass(frozen=True)
class Span:
    """Which versions: written since an instant; current at some time of a period [from, until)."""

    since: int | None = None
    at: tuple[int, int] | None = None


@dataclass(frozen=True)
class HistoryPage:
    """One page: the versions with the method that made each; `total` of one resource alone."""

    versions: tuple[tuple[Version, str], ...]
    total: int | None
    next_cursor: str | None


@dataclass(frozen=True)
class _Select:
    where: str
    params: Mapping[str, object]


ALWAYS = Span()
Interaction = Literal["read", "search"]


def history(
    store: Store,
    access: Access,
    resource_type: str,
    identity: str,
    *,
    count: int | None = None,
    cursor: str | None = None,
    span: Span = ALWAYS,
) -> HistoryPage:
    """Return those versions that the requester may see; none if the current one is hidden."""
    visible = access.read
    one = f"r.type = :type AND r.id = :id AND ({visible.sql})"
    params = {"type": resource_type, "id": identity, **visible.params}
    with store.reading() as connection:
        if not current_visible(connection, access, resource_type, identity):
            raise NotFound(f"There is no {resource_type} with this id.")
        select = _within(connection, access, _Select(one, params), span, "read")
        total = connection.execute(
            f"SELECT COUNT(*) FROM resource r WHERE {select.where}",  # noqa: S608
            select.params,
        ).fetchone()[0]
        scope = ["history", resource_type, identity, span.since, span.at]
        return _page(store, connection, select, scope, count, cursor, total)


def history_of_all(
    store: Store,
    access: Access,
    resource_type: str | None = None,
    *,
    count: int | None = None,
    cursor: str | None = None,
    span: Span = ALWAYS,
) -> HistoryPage:
    """Return the versions of a type, or of every type, that the requester may find.

    By the right to search, as SMART has it. They are not counted: that would read them all.
    """
    visible = access.search
    current = access.later("search")
    where = (
        f"({visible.sql}) AND EXISTS (SELECT 1 FROM resource later WHERE later.type = r.type"  # noqa: S608
        f" AND later.id = r.id AND later.current = 1 AND ({current.sql}))"
    )
    params: dict[str, object] = {**visible.params, **current.params}
    if resource_type is not None:
        # The condition on the version is what leads to the index `resource_history`.
        where = f"r.type = :type AND r.version > 0 AND {where}"
        params["type"] = resource_type
    with store.reading() as connection:
        select = _within(connection, access, _Select(where, params), span, "search")
        scope = ["history", resource_type, span.since, span.at]
        return _page(store, connection, select, scope, count, cursor, None)


def _within(
    connection: Connection,
    access: Access,
    select: _Select,
    span: Span,
    interaction: Interaction,
) -> _Select:
    where, params = select.where, dict(select.params)
    if span.since is not None:
        where += " AND r.pk >= :since"
        params["since"] = _first_since(connection, span.since)
    if span.at is not None:
        later = access.later(interaction)
        where += (
            " AND r.pk < :until AND NOT EXISTS (SELECT 1 FROM resource later"  # noqa: S608
            " WHERE later.type = r.type AND later.id = r.id AND later.version > r.version"
            f" AND later.last_updated <= :from AND ({later.sql}))"
        )
        params |= {"from": span.at[0], "until": _first_since(connection, span.at[1])}
        params |= later.params
    return _Select(where, params)


def _page(
    store: Store,
    connection: Connection,
    select: _Select,
    scope: Sequence[object],
    count: int | None,
    cursor: str | None,
    total: int | None,
) -> HistoryPage:
    limit = min(DEFAULT_COUNT if count is None else max(count, 1), LARGEST_COUNT)
    where, params = select.where, {**select.params, "limit": limit + 1}
    if cursor is not None:
        where += " AND r.pk < :before"
        params["before"] = _pk_of(connection, *open_cursor(store.cursor_key, scope, cursor))
    # In the order of commit: what is written while a client turns the pages comes before them all.
    rows = connection.execute(
        f"SELECT r.* FROM resource r WHERE {where} ORDER BY r.pk DESC LIMIT :limit",  # noqa: S608
        params,
    ).fetchall()
    versions = tuple((Version.of(row), str(row["method"])) for row in rows[:limit])
    following = None
    if len(rows) > limit:
        last = versions[-1][0]
        # Never the pk: its steps would tell how much was written that is hidden.
        following = seal_cursor(store.cursor_key, scope, [last.type, last.id, last.version])
    return HistoryPage(versions, total, following)


def _pk_of(connection: Connection, *position: object) -> int:
    row = connection.execute(
        "SELECT pk FROM resource WHERE type = ? AND id = ? AND version = ?", position
    ).fetchone()
    if row is None:
        raise Invalid("The version that this page link begins after is no longer there.")
    return int(row["pk"])


def _first_since(connection: Connection, instant: int) -> int:
    """Return the pk from which on versions were written at or after an instant.

    Halving works, since the time of a write never runs backwards; an index would cost every write.
    """
    low = 0
    high = 1 + int(connection.execute("SELECT COALESCE(MAX(pk), 0) FROM resource").fetchone()[0])
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT last_updated FROM resource WHERE pk >= ? ORDER BY pk LIMIT 1", (middle,)
        ).fetchone()
        if row is not None and row["last_updated"] < instant:
            low = middle + 1
        else:
            high = middle
    return low
