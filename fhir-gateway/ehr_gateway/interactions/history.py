"""history of a resource, a type or the whole store, newest first (R4 §3.1.0.12).

A version is visible if its own facts and those of the current version permit it: what was corrected
later must not stay open in an older version. A hidden version is absent in every respect: it is not
listed, not counted, and does not end the period in which an older one counts as current.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ehr_fhir import definitions
from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.search.query import DEFAULT_COUNT, MAX_COUNT
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.version_positions import first_position_since
from ehr_gateway.store.visible import is_current_visible

__all__ = [
    "HistoryPage",
    "HistoryPeriod",
    "HistoryQuery",
    "history",
    "history_on",
    "parse_history_query",
]

_PARAMETERS = frozenset({"_at", "_count", "_cursor", "_since"})


@dataclass(frozen=True)
class HistoryPeriod:
    """Which versions: written since an instant (`_since`), or current at some time of [from, until)
    (`_at`); epoch milliseconds.
    """

    since: int | None = None
    at: tuple[int, int] | None = None


@dataclass(frozen=True)
class HistoryPage:
    """One page: versions with the method that wrote each; `total` for one resource alone."""

    versions: tuple[tuple[Version, str], ...]
    total: int | None
    next_cursor: str | None


@dataclass(frozen=True)
class _Select:
    where: str
    params: Mapping[str, object]


@dataclass(frozen=True)
class HistoryQuery:
    """The parameters of a history request."""

    count: int | None = None
    cursor: str | None = None
    period: HistoryPeriod = HistoryPeriod()


NEWEST = HistoryQuery()
Interaction = Literal["read", "search"]
Pairs = Sequence[tuple[str, str]]


def parse_history_query(pairs: Pairs, *, lenient: bool = False) -> HistoryQuery:
    """Parse the parameters of a history request; unless lenient, refuse others."""
    values = dict(pairs)
    if not lenient and (len(values) != len(pairs) or set(values) - _PARAMETERS):
        raise Invalid("A history takes _since, _at, _count and _cursor, each once.")
    count = values.get("_count")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise Invalid("_count must be a whole number.")
    since = _parse_interval("_since", values)
    period = HistoryPeriod(since[0] if since else None, _parse_interval("_at", values))
    return HistoryQuery(None if count is None else int(count), values.get("_cursor"), period)


def history(
    store: Store,
    access: Access,
    resource_type: str | None = None,
    identity: str | None = None,
    query: HistoryQuery = NEWEST,
) -> HistoryPage:
    """Return versions of a resource, of a type, or of the whole store."""
    with store.read_transaction() as connection:
        return history_on(connection, store, access, resource_type, identity, query)


def history_on(
    connection: Connection,
    store: Store,
    access: Access,
    resource_type: str | None = None,
    identity: str | None = None,
    query: HistoryQuery = NEWEST,
) -> HistoryPage:
    """Return versions on an open connection, for example inside a transaction."""
    _require_history_scope(access, resource_type, identity)
    scope = [
        "history", *(part for part in (resource_type, identity) if part),
        query.period.since, query.period.at,
    ]  # fmt: skip
    if resource_type is not None and identity is not None:
        select = _select_instance(connection, access, resource_type, identity, query.period)
        count = f"SELECT COUNT(*) FROM resource r WHERE {select.where}"  # noqa: S608
        total = connection.execute(count, select.params).fetchone()[0]
        return _read_page(store, connection, select, scope, query, int(total))
    # No total: counting would read all versions.
    select = _select_type(connection, access, resource_type, query.period)
    return _read_page(store, connection, select, scope, query, None)


def _require_history_scope(access: Access, resource_type: str | None, identity: str | None) -> None:
    if resource_type is not None:
        access.require_scope("history-type" if identity is None else "history", resource_type)
        return
    # No history lists the audit log.
    types = definitions.resource_types() - {"AuditEvent"}
    if not any(access.covers("history-system", name) for name in types):
        raise access.insufficient_scope("history-system", ["*"])


def _select_instance(
    connection: Connection, access: Access, resource_type: str, identity: str, period: HistoryPeriod
) -> _Select:
    """Select the visible versions of one resource; NotFound if the current one is hidden."""
    if not is_current_visible(connection, access, resource_type, identity):
        raise NotFound(f"There is no {resource_type} with this id.")
    visible = access.read_predicate
    condition = f"r.type = :type AND r.id = :id AND ({visible.sql})"
    params = {"type": resource_type, "id": identity, **visible.params}
    return _limit_to_period(connection, access, _Select(condition, params), period, "read")


def _select_type(
    connection: Connection, access: Access, resource_type: str | None, period: HistoryPeriod
) -> _Select:
    """Select versions of a type or of all: SMART counts that as a search, not as a read."""
    visible = access.search_predicate
    current = access.later_version_predicate("search")
    where = (
        f"({visible.sql}) AND EXISTS (SELECT 1 FROM resource later WHERE later.type = r.type"  # noqa: S608
        f" AND later.id = r.id AND later.current = 1 AND ({current.sql}))"
    )
    params: dict[str, object] = {**visible.params, **current.params}
    if resource_type is not None:
        # `version > 0` makes the planner use the partial index `resource_history`.
        where = f"r.type = :type AND r.version > 0 AND {where}"
        params["type"] = resource_type
    return _limit_to_period(connection, access, _Select(where, params), period, "search")


def _parse_interval(name: str, values: Mapping[str, str]) -> tuple[int, int] | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        # Many clients leave the plus sign of a time zone unescaped; in a query it means a space.
        return date_interval(text.replace(" ", "+"))
    except Invalid as error:
        raise Invalid(f"{name}: {error}") from None


def _limit_to_period(
    connection: Connection,
    access: Access,
    select: _Select,
    period: HistoryPeriod,
    interaction: Interaction,
) -> _Select:
    where, params = select.where, dict(select.params)
    if period.since is not None:
        where += " AND r.position >= :since"
        params["since"] = first_position_since(connection, period.since)
    if period.at is not None:
        # Current at some time of [from, until): written before `until`, and not replaced by `from`.
        # A replacement that the requester cannot see does not count.
        later = access.later_version_predicate(interaction)
        where += (
            " AND r.position < :until AND NOT EXISTS (SELECT 1 FROM resource later"  # noqa: S608
            " WHERE later.type = r.type AND later.id = r.id AND later.version > r.version"
            f" AND later.last_updated <= :from AND ({later.sql}))"
        )
        params |= {"from": period.at[0], "until": first_position_since(connection, period.at[1])}
        params |= later.params
    return _Select(where, params)


def _read_page(
    store: Store,
    connection: Connection,
    select: _Select,
    scope: Sequence[object],
    query: HistoryQuery,
    total: int | None,
) -> HistoryPage:
    count, cursor = query.count, query.cursor
    limit = min(DEFAULT_COUNT if count is None else max(count, 1), MAX_COUNT)
    where, params = select.where, {**select.params, "limit": limit + 1}
    if cursor is not None:
        where += " AND r.position < :before"
        params["before"] = _find_position(connection, *open_cursor(store.cursor_key, scope, cursor))
    # In the order of commit: what is written while a client turns pages precedes the first page.
    rows = connection.execute(
        f"SELECT r.* FROM resource r WHERE {where} ORDER BY r.position DESC LIMIT :limit",  # noqa: S608
        params,
    ).fetchall()
    versions = tuple((Version.from_row(row), str(row["method"])) for row in rows[:limit])
    next_cursor = None
    if len(rows) > limit:
        last = versions[-1][0]
        # The cursor holds no position: the steps between positions would tell how much is written
        # and hidden.
        next_cursor = seal_cursor(store.cursor_key, scope, [last.type, last.id, last.version])
    return HistoryPage(versions, total, next_cursor)


def _find_position(connection: Connection, *version: object) -> int:
    row = connection.execute(
        "SELECT position FROM resource WHERE type = ? AND id = ? AND version = ?", version
    ).fetchone()
    if row is None:
        raise Invalid("The version that this page link begins after is no longer there.")
    return int(row["position"])
