"""Order a search and find its page by keyset pagination (seek method).

A page starts after the sort values of the previous page's last match, whatever became of that match
since, so a record whose values do not change is neither skipped nor repeated. Missing values come
last in both directions; the id decides between equals. (PostgreSQL compares text in collation "C".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ehr_fhir.index.rows import PRESENT
from ehr_fhir.search.query import SearchQuery, SortKey
from ehr_fhir.units import CANONICAL_SYSTEM
from ehr_gateway.search.cursor import Position
from ehr_gateway.search.plan import SearchPlan, join_from
from ehr_gateway.store.disclosure import Disclosure
from ehr_privacy.consent import BY_ROW

__all__ = ["is_ordered_scan", "page_statement", "position_columns", "sorts_all"]

# (ascending, descending) column by index table: of several values the lowest counts in ascending
# order, the highest in descending order (R4 §3.1.1.5.1).
_SORT_COLUMNS = {
    "date": ("low", "high"),
    "number": ("low", "high"),
    "quantity": ("low", "high"),
    "reference": ("target_type || '/' || target_id",) * 2,
    "string": ("normal",) * 2,
    "token": ("code",) * 2,
    "uri": ("value",) * 2,
}
# Of all matches, in the statement that has just found them: how many, and the patients they are of
# with commas between them. Asked by itself, consent would judge each match a second time.
_TOTAL = (
    ", (SELECT COUNT(*) FROM m) AS total, (SELECT group_concat(DISTINCT p.patient) FROM m counted"
    " JOIN record_patient p ON p.pk = counted.pk) AS patients"
)
_INDEXED_ORDERS = {"_id": "r.id", "_lastUpdated": "r.last_updated"}


def page_statement(
    plan: SearchPlan,
    query: SearchQuery,
    parameter_ids: Mapping[tuple[str, str], int],
    limit: int,
    after: Position | None,
    *,
    inclusive: bool = False,
    with_total: bool = False,
) -> tuple[str, dict[str, object]]:
    """Return the statement of one page and its parameters.

    Its rows have the pk, the columns of the position and, if consent is checked last, the version.
    With `inclusive` the page starts at the position instead of after it. With `with_total`, for a
    search that `sorts_all`, each row has the number of all matches, too, and their patients.
    """
    plan = replace(plan, params={**plan.params, "limit": limit})
    if is_ordered_scan(query):
        return _order_by_columns(plan, query, after, "=" if inclusive else "")
    return _order_by_values(plan, query, parameter_ids, after, with_total=with_total)


def sorts_all(plan: SearchPlan, query: SearchQuery) -> bool:
    """Say whether a page is made of all matches that are visible, so that it can count them."""
    return not is_ordered_scan(query) and not plan.checks_consent_last


def is_ordered_scan(query: SearchQuery) -> bool:
    """Say whether the requested order is that of an index, so that a page needs no sorting."""
    return len(query.sort) <= 1 and all(key.code in _INDEXED_ORDERS for key in query.sort)


def position_columns(query: SearchQuery) -> list[str]:
    """Return the names of the columns that hold a match's position, the id last."""
    by_id = [key.code for key in query.sort] in ([], ["_id"])
    return ["k0"] if by_id else [f"k{number}" for number in range(len(query.sort) + 1)]


def _order_by_columns(
    plan: SearchPlan, query: SearchQuery, after: Position | None, equal: str
) -> tuple[str, dict[str, object]]:
    """Scan an index of `resource` in order, reading no more rows than the page needs."""
    names = position_columns(query)
    descending = bool(query.sort) and query.sort[0].descending
    columns = [_INDEXED_ORDERS[query.sort[0].code], "r.id"] if len(names) > 1 else ["r.id"]
    params = dict(plan.params)
    keyset = ""
    if after is not None:
        # A row value comparison, `(a, b) > (:x, :y)`, which both databases answer from the index.
        bounds = [f"after{number}" for number in range(len(columns))]
        params |= dict(zip(bounds, after, strict=True))
        marks = ", ".join(f":{name}" for name in bounds)
        keyset = f" AND ({', '.join(columns)}) {'<' if descending else '>'}{equal} ({marks})"
    keys = ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True))
    if plan.starts_from_list and plan.checks_consent_last:
        matches = f"SELECT r.pk, {keys} FROM {plan.source} WHERE {plan.matching}{keyset}"  # noqa: S608
        return plan.with_clause() + _check_consent_in_order(
            plan, matches, names, _order_terms(names, descending)
        ), params
    selected = f"r.*{Disclosure.columns(plan.dialect)}" if plan.checks_consent_last else "r.pk"
    return (
        f"{plan.with_clause()}SELECT {selected}, {keys} FROM {plan.source}"  # noqa: S608
        f" WHERE {plan.where}{keyset} ORDER BY {_order_terms(columns, descending)} LIMIT :limit",
        params,
    )


def _order_by_values(
    plan: SearchPlan,
    query: SearchQuery,
    parameter_ids: Mapping[tuple[str, str], int],
    after: Position | None,
    *,
    with_total: bool,
) -> tuple[str, dict[str, object]]:
    """Look up each match's sort values once, then sort."""
    params = dict(plan.params)
    *names, identity = position_columns(query)
    values, order = [], []
    for number, (key, name) in enumerate(zip(query.sort, names, strict=True)):
        params[f"sort{number}"] = parameter_ids.get((query.resource_type, key.code), 0)
        values.append(f"{_sort_value(key, number)} AS {name}")
        order.append(f"{name}{' DESC' if key.descending else ''} NULLS LAST")
    values.append(f"r.id AS {identity}")
    keyset = f" WHERE {_after_position(query.sort, after, params)}" if after is not None else ""
    condition = plan.matching if plan.checks_consent_last else plan.where
    valued_table = (
        f"m AS MATERIALIZED (SELECT r.pk, {', '.join(values)} FROM {plan.source}"  # noqa: S608
        f" WHERE {condition})"
    )
    selected = f"*{_TOTAL}" if with_total else "*"
    matches, by = f"SELECT {selected} FROM m{keyset}", ", ".join([*order, identity])  # noqa: S608
    if plan.checks_consent_last:
        return plan.with_clause(valued_table) + _check_consent_in_order(
            plan, matches, [*names, identity], by
        ), params
    return f"{plan.with_clause(valued_table)}{matches} ORDER BY {by} LIMIT :limit", params


def _check_consent_in_order(plan: SearchPlan, matches: str, names: Sequence[str], by: str) -> str:
    """Return the statement that checks consent in order until the page is full."""
    return (
        f"SELECT r.*{Disclosure.columns(plan.dialect)}, {', '.join(names)}"  # noqa: S608
        f" FROM ({matches} ORDER BY {by} {BY_ROW}) {join_from(plan.dialect, 'm')}"
        f" WHERE {plan.visible} ORDER BY {by} LIMIT :limit"
    )


def _order_terms(columns: Sequence[str], descending: bool) -> str:
    return ", ".join(f"{column} DESC" if descending else column for column in columns)


def _sort_value(key: SortKey, number: int) -> str:
    if key.code in _INDEXED_ORDERS:
        return _INDEXED_ORDERS[key.code]
    kind = key.parameter.type
    low, high = _SORT_COLUMNS[kind]
    sort_value = f"MAX({high})" if key.descending else f"MIN({low})"
    # Quantities are sorted by the number as written, not by the one in base units.
    as_written = f" AND i.system <> '{CANONICAL_SYSTEM}'" if kind == "quantity" else ""
    if kind == "reference":
        # Neither a contained resource nor a value without a reference has a place in an order.
        as_written = f" AND i.target_type <> '{PRESENT}' AND substr(i.target_type, 1, 1) <> '#'"
    return (
        f"(SELECT {sort_value} FROM idx_{kind} i WHERE i.pk = r.pk"  # noqa: S608
        f" AND i.param = :sort{number}{as_written})"
    )


def _after_position(keys: Sequence[SortKey], after: Position, params: dict[str, object]) -> str:
    """Return the keyset condition: equal in the first keys and after the position in the next."""
    equal: list[str] = []
    alternatives: list[str] = []
    for number, (key, value) in enumerate(zip(keys, after[:-1], strict=True)):
        column, name = f"m.k{number}", f"after{number}"
        if value is None:
            # Missing values come last: nothing comes after one by this key.
            equal.append(f"{column} IS NULL")
            continue
        params[name] = value
        later = f"({column} IS NULL OR {column} {'<' if key.descending else '>'} :{name})"
        alternatives.append(" AND ".join([*equal, later]))
        equal.append(f"{column} = :{name}")
    params["after_id"] = after[-1]
    alternatives.append(" AND ".join([*equal, f"m.k{len(keys)} > :after_id"]))
    return "(" + " OR ".join(f"({alternative})" for alternative in alternatives) + ")"
