"""Small boolean SQL expressions that fold their constants, with bound parameters.

They stay as flat as they can: SQLite's parser bears a hundred open levels in all, and callers put
the result inside queries of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TRUE = "TRUE"
FALSE = "FALSE"
BY_ROW = "/*by row*/"
_AND = " AND "
# What a word of the rules may be: no quote, no mark of a parameter.
_WORD = re.compile(r"[A-Za-z][A-Za-z-]{0,63}|[*|]|")
_OR = " OR "


class _Joined(str):
    """Parts joined by one word, in parentheses that a join by the same word can drop."""

    word: str


def all_of(*parts: str) -> str:
    """Join conditions with AND.

    >>> all_of("a", TRUE, all_of("b", "c")), all_of("a", FALSE)
    ('(a AND b AND c)', 'FALSE')
    """
    return _join(_AND, parts, neutral=TRUE, absorbing=FALSE)


def any_of(*parts: str) -> str:
    """Join conditions with OR.

    >>> any_of("a", FALSE), any_of(), any_of("a", all_of("b", "c"))
    ('a', 'FALSE', '(a OR b AND c)')
    """
    return _join(_OR, parts, neutral=FALSE, absorbing=TRUE)


def negate(part: str) -> str:
    """Negate a condition.

    >>> negate(FALSE), negate("a = b"), negate(exists("t", "c"))
    ('TRUE', 'NOT (a = b)', 'NOT EXISTS (SELECT 1 FROM t WHERE c /*by row*/)')
    """
    if part in (TRUE, FALSE):
        return FALSE if part == TRUE else TRUE
    if isinstance(part, _Joined) or part.startswith("EXISTS ("):
        return f"NOT {part}"
    return f"NOT ({part})"


def exists(source: str, *conditions: str, grouped: str = "") -> str:
    """Return an EXISTS subquery over a source; `grouped` is a GROUP BY clause with its HAVING.

    The comment is a hint to who runs it: look at each record by itself. A planner that gathers the
    whole source first, to ask it for every record, makes a page cost as much as the store.
    """
    where = _bare(all_of(*conditions), _AND)
    # Text of this package only; every value in it is a bound parameter.
    query = f"SELECT 1 FROM {source} WHERE {where}{f' {grouped}' if grouped else ''} {BY_ROW}"  # noqa: S608
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

    def word(self, value: str) -> str:
        """Return a word of the rules as an SQL literal; bind anything else.

        To bind a value takes as long as to look something up, and the rules have many words.

        >>> Params("p").word("radiology"), Params("p").word("it's")
        ("'radiology'", ':p_0')
        """
        return f"'{value}'" if _WORD.fullmatch(value) else self.bind(value)

    def bind_in(self, column: str, values: Iterable[str], *, negate: bool = False) -> str:
        """Return `column [NOT] IN (...)`, folded when there is nothing to be in."""
        names = ", ".join(self.word(value) for value in sorted(values))
        if not names:
            return TRUE if negate else FALSE
        return f"{column} {'NOT ' if negate else ''}IN ({names})"


def _join(word: str, parts: Iterable[str], *, neutral: str, absorbing: str) -> str:
    kept = [part for part in parts if part != neutral]
    if absorbing in kept:
        return absorbing
    if not kept:
        return neutral
    if len(kept) == 1:
        return kept[0]
    joined = _Joined(f"({word.join(_bare(part, word) for part in kept)})")
    joined.word = word
    return joined


def _bare(part: str, word: str) -> str:
    # AND binds more closely than OR, so it needs no parentheses there.
    loose = isinstance(part, _Joined) and part.word in (word, _AND)
    return part[1:-1] if loose else part
