"""Scores of quality over time, by provider and by table: appended at each check, never a value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ehr_etl.data_quality.measure_reports import CheckTrends
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.timeliness import IN_TIME, LEAST_IN_TIME
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import append_rows
from ehr_etl.tables.silver import FAULTY, SilverReport

__all__ = ["append_scores", "read_check_trends", "read_trends", "summarize_providers"]

# Points of a trend that a reader gets: enough for a line. Chosen.
_MOST_POINTS = 30
_SILVER = "silver"
# All versions there are, counted anew: what was counted before is among them.
_ANEW = "silver-anew"


def append_scores(
    lake: Lake,
    at_ms: int,
    silver: SilverReport,
    checked: Sequence[TableQuality],
    *,
    is_anew: bool,
) -> None:
    """Append what a check found: what changed of silver, by provider, and each table checked.

    `is_anew`: silver was made anew, so that all its versions were counted.
    """
    rows = [
        {
            "at_ms": at_ms,
            "table": _ANEW if is_anew else _SILVER,
            "origin": author,
            "check": "" if rule == FAULTY else rule,
            "evaluated": silver.by_author[author, ""],
            "unexpected": number,
        }
        for (author, rule), number in _with_all(silver).items()
    ]
    rows += [
        {
            "at_ms": at_ms,
            "table": table.table,
            "origin": None,
            "check": result.name,
            "evaluated": result.evaluated,
            "unexpected": result.unexpected,
        }
        for table in checked
        for result in table.results
    ]
    if rows:
        schema = TABLES["quality_scores"].schema
        append_rows(lake, "quality_scores", pa.Table.from_pylist(rows, schema=schema))


def summarize_providers(lake: Lake) -> tuple[TableQuality, ...]:
    """Return, of each provider, how many of all its versions broke which rule."""
    totals: defaultdict[str, int] = defaultdict(int)
    broken: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows = _read(lake)
    begin = max((row["at_ms"] for row in rows if row["table"] == _ANEW), default=0)
    for row in rows:
        is_counted = row["table"] == _SILVER and row["at_ms"] > begin
        if not is_counted and (row["table"] != _ANEW or row["at_ms"] != begin):
            continue
        if row["check"] == "":
            totals[row["origin"]] += row["evaluated"]
        else:
            broken[row["origin"]][row["check"]] += row["unexpected"]
    return tuple(
        TableQuality(
            origin,
            total,
            tuple(
                ExpectationResult(rule, _is_passed(rule, number, total), total, number)
                for rule, number in sorted(broken[origin].items())
            ),
        )
        for origin, total in sorted(totals.items())
    )


def _is_passed(rule: str, number: int, total: int) -> bool:
    return total - number >= LEAST_IN_TIME * total if rule == IN_TIME else number == 0


def read_trends(lake: Lake) -> Mapping[str, tuple[tuple[int, float], ...]]:
    """Return, by provider and by gold table, instants and shares of what was as expected."""
    sums: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in _read(lake):
        if row["origin"] is not None and row["check"]:
            continue
        counts = sums[row["origin"] or row["table"], row["at_ms"]]
        counts[0] += row["evaluated"]
        counts[1] += row["unexpected"]
    trends: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for (name, at_ms), (evaluated, unexpected) in sorted(sums.items()):
        if evaluated:
            trends[name].append((at_ms, round(1 - unexpected / evaluated, 6)))
    return {name: tuple(points[-_MOST_POINTS:]) for name, points in trends.items()}


def read_check_trends(lake: Lake) -> CheckTrends:
    """Return, by gold table and check, instants and shares of rows that were as expected."""
    trends: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for row in sorted(_read(lake), key=lambda row: int(row["at_ms"])):
        if row["origin"] is None and row["check"] and row["evaluated"]:
            share = round(1 - row["unexpected"] / row["evaluated"], 6)
            trends[row["table"], row["check"]].append((row["at_ms"], share))
    return {name: tuple(points[-_MOST_POINTS:]) for name, points in trends.items()}


def _with_all(silver: SilverReport) -> dict[tuple[str, str], int]:
    """Return the counts by author and rule; of each author also how many broke any."""
    authors = {author for author, rule in silver.by_author if not rule}
    found = {(author, FAULTY): 0 for author in authors}
    return found | {key: number for key, number in silver.by_author.items() if key[1]}


def _read(lake: Lake) -> list[dict[str, Any]]:
    if not lake.has_table("quality_scores"):
        return []
    rows = lake.open_table("quality_scores").to_pyarrow_table().to_pylist()
    return list(rows)
