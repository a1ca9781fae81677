"""Small boolean SQL expressions that fold their constants, with bound parameters."""

from __future__ import annotations

from collections.abc import Iterable

TRUE = "TRUE"
FALSE = "FALSE"


def all_of(*parts: str) -> str:
    """Join conditions with AND.

    >>> all_of("a", TRUE, "b"), all_of("a", FALSE)
    ('(a AND b)', 'FALSE')
    """
    return _join(" AND ", parts, neutral=TRUE, absorbing=FALSE)


def any_of(*parts: str) -> str:
    """Join conditions with OR.

    >>> any_of("a", FALSE), any_of()
    ('a', 'FALSE')
    """
    return _join(" OR ", parts, neutral=FALSE, absorbing=TRUE)


def negated(part: str) -> str:
    """Negate a condition.

    >>> negated(FALSE), negated("a = b")
    ('TRUE', 'NOT (a = b)')
    """
    if part in (TRUE, FALSE):
        return FALSE if part == TRUE else TRUE
    return f"NOT ({part})"


def exists(source: str, *conditions: str) -> str:
    """Ask whether a source has a row under conditions."""
    where = all_of(*conditions)
    # Text of this package only; every value in it is a bound parameter.
    query = f"SELECT 1 FROM {source} WHERE {where}"  # noqa: S608
    return FALSE if where == FALSE else f"EXISTS ({query})"


class Params:
    """Collects bound parameters; the same value is bound once."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.values: dict[str, str | int] = {}
        self._names: dict[tuple[type, str | int], str] = {}

    def bind(self, value: str | int) -> str:
        """Return the placeholder of a value."""
        key = (type(value), value)
        if key not in self._names:
            name = f"{self._prefix}_{len(self.values)}"
            self._names[key] = name
            self.values[name] = value
        return f":{self._names[key]}"

    def bind_in(self, column: str, values: Iterable[str]) -> str:
        """Return `column IN (...)`, or FALSE when there is nothing to be in."""
        names = ", ".join(self.bind(value) for value in sorted(values))
        return f"{column} IN ({names})" if names else FALSE


def _join(word: str, parts: Iterable[str], *, neutral: str, absorbing: str) -> str:
    kept = [part for part in parts if part != neutral]
    if absorbing in kept:
        return absorbing
    if not kept:
        return neutral
    return kept[0] if len(kept) == 1 else f"({word.join(kept)})"
