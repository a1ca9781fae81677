"""The full-text index: FTS5 on SQLite, a tsvector on PostgreSQL, of words that we cut ourselves.

The databases only look the words up, and compare their places. Each word bears a mark of its
resource type, so that what is frequent in one type does not slow down the search of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from ehr_fhir import definitions
from ehr_fhir.index.full_text import PHRASE_BREAK, FullText
from ehr_fhir.search.full_text_query import Conjunction, Phrase
from ehr_gateway.database import Connection, Dialect

__all__ = [
    "build_expression",
    "insert_words",
    "match_condition",
    "matching_pks_sql",
    "remove_words",
]

_INSERT = {
    "sqlite": "INSERT INTO full_text (rowid, narrative, content) VALUES (?, ?, ?)",
    "postgresql": "INSERT INTO full_text (pk, words) VALUES (?, CAST(? AS tsvector))",
}
# Words of the narrative bear this weight.
_NARRATIVE = "A"


def insert_words(connection: Connection, versions: Iterable[tuple[int, str, FullText]]) -> None:
    """Add the words of many versions at once, given with their pk and type."""
    on_sqlite = connection.dialect == "sqlite"
    connection.executemany(
        _INSERT[connection.dialect],
        [
            (pk, *(_mark_words(_type_mark(kind), text) for text in words))
            if on_sqlite
            else (pk, _tsvector(_type_mark(kind), words))
            for pk, kind, words in versions
            if any(words)
        ],
    )


def remove_words(connection: Connection, pk: int) -> None:
    """Take the words of a version out.

    Not on SQLite: FTS5 takes out only what it is shown again. There the words of older versions
    stay, as the versions do, and every search joins the current ones.
    """
    if connection.dialect == "postgresql":
        connection.execute("DELETE FROM full_text WHERE pk = ?", (pk,))


def matching_pks_sql(dialect: Dialect, placeholder: str) -> str:
    """Return the SELECT of the pks that an expression holds for."""
    if dialect == "sqlite":
        return f"SELECT rowid AS pk FROM full_text WHERE full_text MATCH {placeholder}"  # noqa: S608
    found = f"SELECT pk FROM full_text WHERE words @@ CAST({placeholder} AS tsquery)"  # noqa: S608
    # Made before it is counted: under a LIMIT, PostgreSQL would read the whole table instead.
    return f"SELECT pk FROM (WITH w AS MATERIALIZED ({found}) SELECT pk FROM w) w"  # noqa: S608


def match_condition(dialect: Dialect, placeholder: str) -> str:
    """Return the condition on `r` that an expression holds for it."""
    if dialect == "sqlite":
        return f"EXISTS ({matching_pks_sql(dialect, placeholder)} AND rowid = r.pk)"
    # Not EXISTS, which PostgreSQL would make a join with all that holds.
    holds = f"SELECT words @@ CAST({placeholder} AS tsquery) FROM full_text WHERE pk = r.pk"  # noqa: S608
    return f"COALESCE(({holds}), FALSE)"


def build_expression(
    dialect: Dialect, kind: str, groups: Iterable[Conjunction], *, narrative: bool = False
) -> str:
    """Return what a database looks up for one type, one of the groups having to hold.

    It is built of our own words alone: letters and digits, and the mark.
    """
    mark = _type_mark(kind)
    if dialect == "sqlite":
        found = " OR ".join(_fts5_query(mark, group) for group in groups)
        return f"{{narrative}} : ({found})" if narrative else found
    weight = _NARRATIVE if narrative else ""
    return " | ".join(_tsquery(mark, weight, group) for group in groups)


@cache
def _type_mark(kind: str) -> str:
    # A character that no text has, for it stands for nothing.
    return chr(0xE000 + sorted(definitions.resource_types()).index(kind))


def _mark_words(mark: str, text: str) -> str:
    return text and mark + text.replace(" ", f" {mark}")


def _tsvector(mark: str, words: FullText) -> str:
    places: dict[str, list[str]] = {}
    at = 0
    for text, weight in zip(words, (_NARRATIVE, ""), strict=True):
        for at, word in enumerate(text.split(), at + 1):  # noqa: B020 - goes on where it was
            places.setdefault(word, []).append(f"{at}{weight}")
        at += 1
    places.pop(PHRASE_BREAK, None)
    return " ".join(f"'{mark}{word}':{','.join(found)}" for word, found in places.items())


def _fts5_query(mark: str, group: Conjunction) -> str:
    def said(one: Phrase) -> str:
        words = " ".join(f"{mark}{word}" for word in one.words)
        return f'"{words}"{" *" if one.is_prefix else ""}'

    found = " AND ".join(map(said, group.required))
    if group.excluded:
        found = f"({found}) NOT ({' OR '.join(map(said, group.excluded))})"
    return f"({found})"


def _tsquery(mark: str, weight: str, group: Conjunction) -> str:
    def parts(one: Phrase) -> Iterator[str]:
        for number, word in enumerate(one.words, 1):
            labels = weight + ("*" if one.is_prefix and number == len(one.words) else "")
            yield f"'{mark}{word}'{':' if labels else ''}{labels}"

    found = [f"({' <-> '.join(parts(one))})" for one in group.required]
    found += [f"!({' <-> '.join(parts(one))})" for one in group.excluded]
    return f"({' & '.join(found)})"
