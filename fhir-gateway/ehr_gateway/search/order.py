"""The order of a search and the place of a page in it, as SQL.

A page begins after the values of the last match of the page before, whatever became of that match
since: a record whose values stay is neither skipped nor repeated. Missing values come last in
either direction; the id decides between equals. (PostgreSQL: text compares in collation "C".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ehr_fhir.search.query import SearchQuery, SortKey
from ehr_fhir.units import CANONICAL_SYSTEM
from ehr_gateway.search.cursor import Position
from ehr_gateway.search.plan import SearchPlan, join_from
from ehr_privacy.consent import BY_ROW

__all__ = ["is_ordered_scan", "page_statement", "position_columns"]

# The lowest value of several going up, the highest going down (R4 §3.1.1.5.1).
_SORT_COLUMNS = {
    "date": ("low", "high"),
    "number": ("low", "high"),
    "quantity": ("low", "high"),
    "reference": ("target_type || '/' || target_id",) * 2,
    "string": ("normal",) * 2,
    "token": ("code",) * 2,
    "uri": ("value",) * 2,
}
_INDEXED_ORDERS = {"_id": "r.id", "_lastUpdated": "r.last_updated"}


def page_statement(
    select: SearchPlan,
    query: SearchQuery,
    parameter_ids: Mapping[tuple[str, str], int],
    limit: int,
    after: Position | None,
    *,
    inclusive: bool = False,
) -> tuple[str, dict[str, object]]:
    """Return the statement of one page: rows of pk, position and perhaps the version, in order.

    With `inclusive`, from the position on instead of after it.
    """
    select = replace(select, params={**select.params, "limit": limit})
    if is_ordered_scan(query):
        return _order_by_columns(select, query, after, "=" if inclusive else "")
    return _order_by_values(select, query, parameter_ids, after)


def is_ordered_scan(query: SearchQuery) -> bool:
    """Say whether the order asked for is that of an index, so that a page needs no sorting."""
    return len(query.sort) <= 1 and all(key.code in _INDEXED_ORDERS for key in query.sort)


def position_columns(query: SearchQuery) -> list[str]:
    """Return the names under which the statement of a page has a match's position."""
    by_id = [key.code for key in query.sort] in ([], ["_id"])
    return ["k0"] if by_id else [f"k{number}" for number in range(len(query.sort) + 1)]


def _order_by_columns(
    select: SearchPlan, query: SearchQuery, after: Position | None, equal: str
) -> tuple[str, dict[str, object]]:
    """Walk along an index of `resource`, so that no more is looked at than the page needs."""
    names = position_columns(query)
    down = bool(query.sort) and query.sort[0].descending
    columns = [_INDEXED_ORDERS[query.sort[0].code], "r.id"] if len(names) > 1 else ["r.id"]
    params = dict(select.params)
    keyset = ""
    if after is not None:
        bounds = [f"after{number}" for number in range(len(columns))]
        params |= dict(zip(bounds, after, strict=True))
        marks = ", ".join(f":{name}" for name in bounds)
        keyset = f" AND ({', '.join(columns)}) {'<' if down else '>'}{equal} ({marks})"
    keys = ", ".join(f"{one} AS {name}" for one, name in zip(columns, names, strict=True))
    if select.starts_from_list and select.checks_consent_last:
        found = f"SELECT r.pk, {keys} FROM {select.source} WHERE {select.matching}{keyset}"  # noqa: S608
        return select.with_clause() + _check_consent_in_order(
            select, found, names, _order_terms(names, down)
        ), params
    what = "r.*" if select.checks_consent_last else "r.pk"
    return (
        f"{select.with_clause()}SELECT {what}, {keys} FROM {select.source}"  # noqa: S608
        f" WHERE {select.where}{keyset} ORDER BY {_order_terms(columns, down)} LIMIT :limit",
        params,
    )


def _order_by_values(
    select: SearchPlan,
    query: SearchQuery,
    parameter_ids: Mapping[tuple[str, str], int],
    after: Position | None,
) -> tuple[str, dict[str, object]]:
    """Look each match's values up once, then sort them."""
    params = dict(select.params)
    *names, identity = position_columns(query)
    values, order = [], []
    for number, (key, name) in enumerate(zip(query.sort, names, strict=True)):
        params[f"sort{number}"] = parameter_ids.get((query.resource_type, key.code), 0)
        values.append(f"{_sort_value(key, number)} AS {name}")
        order.append(f"{name}{' DESC' if key.descending else ''} NULLS LAST")
    values.append(f"r.id AS {identity}")
    keyset = f" WHERE {_after_position(query.sort, after, params)}" if after is not None else ""
    condition = select.matching if select.checks_consent_last else select.where
    valued = (
        f"m AS MATERIALIZED (SELECT r.pk, {', '.join(values)} FROM {select.source}"  # noqa: S608
        f" WHERE {condition})"
    )
    found, by = f"SELECT * FROM m{keyset}", ", ".join([*order, identity])  # noqa: S608
    if select.checks_consent_last:
        return select.with_clause(valued) + _check_consent_in_order(
            select, found, [*names, identity], by
        ), params
    return f"{select.with_clause(valued)}{found} ORDER BY {by} LIMIT :limit", params


def _check_consent_in_order(select: SearchPlan, found: str, names: Sequence[str], by: str) -> str:
    """Return the first of what was found, in order, that the requester may find."""
    return (
        f"SELECT r.*, {', '.join(names)}"  # noqa: S608
        f" FROM ({found} ORDER BY {by} {BY_ROW}) {join_from(select.dialect, 'm')}"
        f" WHERE {select.visible} ORDER BY {by} LIMIT :limit"
    )


def _order_terms(columns: Sequence[str], down: bool) -> str:
    return ", ".join(f"{one} DESC" if down else one for one in columns)


def _sort_value(key: SortKey, number: int) -> str:
    if key.code in _INDEXED_ORDERS:
        return _INDEXED_ORDERS[key.code]
    kind = key.parameter.type
    low, high = _SORT_COLUMNS[kind]
    best = f"MAX({high})" if key.descending else f"MIN({low})"
    # A quantity is ordered by its number as written.
    written = f" AND i.system <> '{CANONICAL_SYSTEM}'" if kind == "quantity" else ""
    return (
        f"(SELECT {best} FROM idx_{kind} i WHERE i.pk = r.pk"  # noqa: S608
        f" AND i.param = :sort{number}{written})"
    )


def _after_position(keys: Sequence[SortKey], after: Position, params: dict[str, object]) -> str:
    """Say in SQL what comes after a position: equal in the first keys, later in the next."""
    equal: list[str] = []
    ways: list[str] = []
    for number, (key, value) in enumerate(zip(keys, after[:-1], strict=True)):
        column, name = f"m.k{number}", f"after{number}"
        if value is None:
            # Nothing comes after a missing value by this key.
            equal.append(f"{column} IS NULL")
            continue
        params[name] = value
        later = f"({column} IS NULL OR {column} {'<' if key.descending else '>'} :{name})"
        ways.append(" AND ".join([*equal, later]))
        equal.append(f"{column} = :{name}")
    params["after_id"] = after[-1]
    ways.append(" AND ".join([*equal, f"m.k{len(keys)} > :after_id"]))
    return "(" + " OR ".join(f"({way})" for way in ways) + ")"
