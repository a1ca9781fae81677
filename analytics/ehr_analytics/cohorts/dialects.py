"""The few places where DuckDB's and Spark's SQL differ."""

from __future__ import annotations

from typing import Protocol

__all__ = ["DUCKDB", "SPARK", "Dialect"]

_DAY = "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"


class Dialect(Protocol):
    """SQL of an engine for what its dialect says differently."""

    def name(self, identifier: str) -> str:
        """Return an identifier as it is quoted."""

    def day_of_text(self, text: str) -> str:
        """Return the day that a FHIR date or dateTime names; NULL for a month or a year."""

    def days_between(self, start: str, end: str) -> str:
        """Return the days from a date to another."""

    def pair(self, first: str, second: str) -> str:
        """Return a struct of `a` and `b`, which compare in this order."""

    def starts_with(self, text: str, prefix: str) -> str:
        """Return whether a text starts with another."""


class _DuckDb:
    def name(self, identifier: str) -> str:
        return f'"{identifier}"'

    def day_of_text(self, text: str) -> str:
        day = f"substr({text}, 1, 10)"
        return (
            f"CASE WHEN regexp_full_match({day}, '{_DAY}') AND {_ends_day(text)}"
            f" THEN TRY_CAST({day} AS DATE) END"
        )

    def days_between(self, start: str, end: str) -> str:
        return f"({end} - {start})"

    def pair(self, first: str, second: str) -> str:
        return f"struct_pack(a := {first}, b := {second})"

    def starts_with(self, text: str, prefix: str) -> str:
        return f"starts_with({text}, {prefix})"


class _Spark:
    def name(self, identifier: str) -> str:
        return f"`{identifier}`"

    def day_of_text(self, text: str) -> str:
        day = f"substr({text}, 1, 10)"
        return (
            f"CASE WHEN {day} RLIKE '^{_DAY}$' AND {_ends_day(text)}"
            f" THEN try_cast({day} AS DATE) END"
        )

    def days_between(self, start: str, end: str) -> str:
        return f"CAST(datediff({end}, {start}) AS BIGINT)"

    def pair(self, first: str, second: str) -> str:
        return f"named_struct('a', {first}, 'b', {second})"

    def starts_with(self, text: str, prefix: str) -> str:
        return f"startswith({text}, {prefix})"


def _ends_day(text: str) -> str:
    return f"(length({text}) = 10 OR substr({text}, 11, 1) = 'T')"


DUCKDB: Dialect = _DuckDb()
SPARK: Dialect = _Spark()
