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

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.search.query import DEFAULT_COUNT, LARGEST_COUNT
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.store.store import Store, Version
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


@dataclass(frozen=True)
class HistoryQuery:
    """What a history is asked for."""

    count: int | None = None
    cursor: str | None = None
    period: HistoryPeriod = HistoryPeriod()


NEWEST = HistoryQuery()
Interaction = Literal["read", "search"]
Pairs = Sequence[tuple[str, str]]


def parse_history_query(pairs: Pairs, *, lenient: bool = False) -> HistoryQuery:
    """Read the parameters of a history."""
    given = dict(pairs)
    if not lenient and (len(given) != len(pairs) or set(given) - _PARAMETERS):
        raise Invalid("A history takes _since, _at, _count and _cursor, each once.")
    count = given.get("_count")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise Invalid("_count must be a whole number.")
    since = _parse_interval("_since", given)
    period = HistoryPeriod(since[0] if since else None, _parse_interval("_at", given))
    return HistoryQuery(None if count is None else int(count), given.get("_cursor"), period)


def history(
    store: Store,
    access: Access,
    resource_type: str | None = None,
    identity: str | None = None,
    asked: HistoryQuery = NEWEST,
) -> HistoryPage:
    """Return versions of a resource, of a type, or of everything."""
    with store.read_transaction() as connection:
        return history_on(connection, store, access, resource_type, identity, asked)


def history_on(
    connection: Connection,
    store: Store,
    access: Access,
    resource_type: str | None = None,
    identity: str | None = None,
    asked: HistoryQuery = NEWEST,
) -> HistoryPage:
    """Return versions as a connection sees the store, for example inside a transaction."""
    scope = [
        "history", *(one for one in (resource_type, identity) if one),
        asked.period.since, asked.period.at,
    ]  # fmt: skip
    if resource_type is not None and identity is not None:
        select = _select_instance(connection, access, resource_type, identity, asked.period)
        counted = f"SELECT COUNT(*) FROM resource r WHERE {select.where}"  # noqa: S608
        total = connection.execute(counted, select.params).fetchone()[0]
        return _read_page(store, connection, select, scope, asked, int(total))
    # Not counted: that would read them all.
    select = _select_type(connection, access, resource_type, asked.period)
    return _read_page(store, connection, select, scope, asked, None)


def _select_instance(
    connection: Connection, access: Access, resource_type: str, identity: str, period: HistoryPeriod
) -> _Select:
    """Select those versions that the requester may see; none if the current one is hidden."""
    if not is_current_visible(connection, access, resource_type, identity):
        raise NotFound(f"There is no {resource_type} with this id.")
    visible = access.read_predicate
    one = f"r.type = :type AND r.id = :id AND ({visible.sql})"
    params = {"type": resource_type, "id": identity, **visible.params}
    return _limit_to_period(connection, access, _Select(one, params), period, "read")


def _select_type(
    connection: Connection, access: Access, resource_type: str | None, period: HistoryPeriod
) -> _Select:
    """Select by the right to search, as SMART has it."""
    visible = access.search_predicate
    current = access.later_version_predicate("search")
    where = (
        f"({visible.sql}) AND EXISTS (SELECT 1 FROM resource later WHERE later.type = r.type"  # noqa: S608
        f" AND later.id = r.id AND later.current = 1 AND ({current.sql}))"
    )
    params: dict[str, object] = {**visible.params, **current.params}
    if resource_type is not None:
        # The condition on the version is what leads to the index `resource_history`.
        where = f"r.type = :type AND r.version > 0 AND {where}"
        params["type"] = resource_type
    return _limit_to_period(connection, access, _Select(where, params), period, "search")


def _parse_interval(name: str, given: Mapping[str, str]) -> tuple[int, int] | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        # A plus sign in a query means a space; many clients forget to escape it in a time zone.
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
        where += " AND r.pk >= :since"
        params["since"] = _first_since(connection, period.since)
    if period.at is not None:
        later = access.later_version_predicate(interaction)
        where += (
            " AND r.pk < :until AND NOT EXISTS (SELECT 1 FROM resource later"  # noqa: S608
            " WHERE later.type = r.type AND later.id = r.id AND later.version > r.version"
            f" AND later.last_updated <= :from AND ({later.sql}))"
        )
        params |= {"from": period.at[0], "until": _first_since(connection, period.at[1])}
        params |= later.params
    return _Select(where, params)


def _read_page(
    store: Store,
    connection: Connection,
    select: _Select,
    scope: Sequence[object],
    asked: HistoryQuery,
    total: int | None,
) -> HistoryPage:
    count, cursor = asked.count, asked.cursor
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
    versions = tuple((Version.from_row(row), str(row["method"])) for row in rows[:limit])
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
