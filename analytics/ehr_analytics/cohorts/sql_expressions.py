"""SQL of typed values, conditions and labels: the same for every engine but for its dialect."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

from ehr_analytics.cohorts.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    IsRecorded,
    Not,
    OneOf,
    StartsWith,
)
from ehr_analytics.cohorts.definition import (
    AsBands,
    AsBoolean,
    AsCategories,
    AsTopCodes,
    Form,
)
from ehr_analytics.cohorts.dialects import Dialect
from ehr_analytics.cohorts.labels import NOT_RECORDED, OTHER, band_labels
from ehr_analytics.cohorts.sources import ValueType

__all__ = ["condition_sql", "form_sql", "literal", "period_sql", "typed_value"]

Place = Callable[[str], str]


def typed_value(dialect: Dialect, column: str, value: ValueType) -> str:
    """Return a column of a source as a value of the language; what is no value of it is NULL."""
    match value:
        case ValueType.DATE_TEXT:
            return dialect.day_of_text(column)
        case ValueType.DATE:
            return f"CAST({column} AS DATE)"
        case ValueType.INTEGER | ValueType.CONCEPT:
            return f"CAST({column} AS BIGINT)"
        case ValueType.NUMBER:
            # NaN, which each engine orders as it likes, is no number.
            number = f"CAST({column} AS DOUBLE)"
            return f"CASE WHEN NOT isnan({number}) THEN {number} END"
    return column


def literal(value: str | int | Decimal | date) -> str:
    """Return a value as a literal; texts have passed the checks, which allow no quote.

    >>> literal("I63"), literal(date(2024, 1, 2)), literal(Decimal("0.5"))
    ("'I63'", "CAST('2024-01-02' AS DATE)", "CAST('0.5' AS DOUBLE)")
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f"CAST('{value}' AS DOUBLE)"
    if isinstance(value, date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    if set(value) & set("'\\"):
        raise ValueError("a text with a quote or a backslash")
    return f"'{value}'"


def condition_sql(dialect: Dialect, condition: Condition, place: Place) -> str:
    """Return a condition that is true or false, never NULL; `place` gives a column's SQL."""
    match condition:
        case OneOf(column=column, values=values):
            listed = ", ".join(map(literal, values))
            return f"coalesce({place(column)} IN ({listed}), false)"
        case StartsWith(column=column, prefixes=prefixes):
            tests = [dialect.starts_with(place(column), literal(text)) for text in prefixes]
            return f"coalesce({' OR '.join(tests)}, false)"
        case Between(column=column, low=low, high=high):
            tests = [] if low is None else [f"{place(column)} >= {literal(low)}"]
            tests += [] if high is None else [f"{place(column)} <= {literal(high)}"]
            return f"coalesce({' AND '.join(tests)}, false)"
        case IsRecorded(column=column):
            return f"({place(column)} IS NOT NULL)"
        case Not(condition=inner):
            return f"(NOT {condition_sql(dialect, inner, place)})"
        case AnyOf(conditions=parts):
            return _join(dialect, parts, place, " OR ") or "false"
        case AllOf(conditions=parts):
            return _join(dialect, parts, place, " AND ") or "true"


def form_sql(dialect: Dialect, form: Form, value: str) -> str:
    """Return a measure's value in the form in which it is shown."""
    match form:
        case AsBoolean(condition=condition):
            test = condition_sql(dialect, condition, lambda _: value)
            return f"CASE WHEN {test} THEN 'yes' ELSE 'no' END"
        case AsBands(edges=edges):
            labels = band_labels(edges)
            tests = [
                f"WHEN {value} < {edge} THEN {literal(label)}"
                for edge, label in zip(edges, labels, strict=False)
            ]
            return (
                f"CASE WHEN {value} IS NULL THEN {literal(NOT_RECORDED)} {' '.join(tests)}"
                f" ELSE {literal(labels[-1])} END"
            )
        case AsCategories(values=values):
            text = f"CAST({value} AS STRING)"
            listed = ", ".join(map(literal, values))
            return (
                f"CASE WHEN {value} IS NULL THEN {literal(NOT_RECORDED)} "
                f"WHEN {text} IN ({listed}) THEN {text} ELSE {literal(OTHER)} END"
            )
        case AsTopCodes():
            return f"CAST({value} AS STRING)"
    return value


def period_sql(day: str, unit: str) -> str:
    """Return the year, quarter or month of a day as its label."""
    year = f"CAST(year({day}) AS STRING)"
    if unit == "year":
        return year
    if unit == "quarter":
        return f"{year} || '-Q' || CAST(quarter({day}) AS STRING)"
    return f"{year} || '-' || lpad(CAST(month({day}) AS STRING), 2, '0')"


def _join(dialect: Dialect, parts: tuple[Condition, ...], place: Place, word: str) -> str:
    tests = [condition_sql(dialect, part, place) for part in parts]
    # No parentheses around one word: Spark reads `FROM rows WHERE (true)` as an alias.
    return f"({word.join(tests)})" if len(tests) > 1 else "".join(tests)
