"""search of one resource type (R4 §3.1.1): matches, total, the next page.

The consent predicate stands in every statement: of the page, of the total, of what comes along.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ehr_fhir.errors import Issue
from ehr_fhir.query import SearchQuery, parse
from ehr_gateway.access import Access
from ehr_gateway.cursor import open_cursor, seal_cursor
from ehr_gateway.interactions.include import included
from ehr_gateway.search_sql import Conditions
from ehr_gateway.store import Store, Version

__all__ = ["SearchPage", "matching_ids", "search", "search_in"]


@dataclass(frozen=True)
class SearchPage:
    """One page of an answer."""

    matches: tuple[Version, ...]
    included: tuple[Version, ...]
    total: int | None
    next_cursor: str | None
    self_pairs: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...]


@dataclass(frozen=True)
class _Select:
    start: str  # what stands before SELECT
    where: str
    params: dict[str, object]


def search(
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    lenient: bool = False,
) -> SearchPage:
    """Find the current versions that match and that the requester may find."""
    with store.reading() as connection:
        return search_in(connection, store, access, resource_type, pairs, lenient=lenient)


def search_in(
    connection: sqlite3.Connection,
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    lenient: bool = False,
) -> SearchPage:
    """Search as a connection sees the store, for example inside a transaction."""
    query = parse(resource_type, pairs, lenient=lenient)
    select = _select(store, access, query)
    scope = [resource_type, query.applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    only_count = query.summary_count or query.count == 0
    total = _total(connection, select) if only_count or query.total != "none" else None
    rows = [] if only_count else _page(connection, query, select, after)
    matches = tuple(Version.of(row) for row in rows[: query.count])
    more, issues = included(connection, store.parameter_ids, access, query.includes, matches)
    cursor = None
    if len(rows) > query.count:
        last = matches[-1]
        # Never the pk: its steps would tell how much was written that is hidden.
        position: list[str | int] = [last.id]
        if query.sort == "_lastUpdated":
            position.insert(0, last.last_updated_ms)
        cursor = seal_cursor(store.cursor_key, scope, position)
    return SearchPage(matches, more, total, cursor, query.applied, (*query.issues, *issues))


def matching_ids(
    store: Store,
    connection: sqlite3.Connection,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    most: int,
) -> list[str]:
    """Return the ids of matches as a transaction sees them, up to a number."""
    select = _select(store, access, parse(resource_type, pairs))
    rows = connection.execute(
        f"{select.start}SELECT r.id FROM resource r WHERE {select.where}"  # noqa: S608
        " ORDER BY r.id LIMIT :most",
        {**select.params, "most": most},
    )
    return [row["id"] for row in rows]


def _select(store: Store, access: Access, query: SearchQuery) -> _Select:
    visible = access.search
    conditions = Conditions(store.parameter_ids, access.now_ms, visible.sql)
    for one in query.filters:
        conditions.add(one)
    where = [
        "r.type = :type",
        "r.current = 1",
        "r.deleted = 0",
        *conditions.sql,
        f"({visible.sql})",
    ]
    params = {"type": query.resource_type, **conditions.params, **visible.params}
    return _Select(conditions.start, " AND ".join(where), params)


def _total(connection: sqlite3.Connection, select: _Select) -> int:
    statement = f"{select.start}SELECT COUNT(*) FROM resource r WHERE {select.where}"  # noqa: S608
    return int(connection.execute(statement, select.params).fetchone()[0])


def _page(
    connection: sqlite3.Connection,
    query: SearchQuery,
    select: _Select,
    after: Sequence[str | int] | None,
) -> list[sqlite3.Row]:
    columns = ["r.id"] if query.sort == "_id" else ["r.last_updated", "r.id"]
    order = ", ".join(f"{column} DESC" if query.descending else column for column in columns)
    params: dict[str, object] = {**select.params, "limit": query.count + 1}
    keyset = ""
    if after is not None:
        names = [f"after{number}" for number in range(len(columns))]
        params |= dict(zip(names, after, strict=True))
        marks = ", ".join(f":{name}" for name in names)
        keyset = f" AND ({', '.join(columns)}) {'<' if query.descending else '>'} ({marks})"
    # Keys first and bodies after: a sort that carried the bodies would be slow.
    keys = connection.execute(
        f"{select.start}SELECT r.pk FROM resource r WHERE {select.where}{keyset}"  # noqa: S608
        f" ORDER BY {order} LIMIT :limit",
        params,
    ).fetchall()
    pks = ", ".join(str(row["pk"]) for row in keys)
    return connection.execute(
        f"SELECT r.* FROM resource r WHERE r.pk IN ({pks}) ORDER BY {order}"  # noqa: S608
    ).fetchall()
