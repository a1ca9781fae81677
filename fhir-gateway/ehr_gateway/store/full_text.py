"""The full-text index: FTS5 on SQLite, a tsvector on PostgreSQL, over words that we tokenize.

The databases only look words up and compare their positions. Each word carries a mark of its
resource type, so that a word frequent in one type does not slow down the search of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from ehr_fhir import definitions
from ehr_fhir.index.full_text import PHRASE_BREAK, FullText
from ehr_fhir.search.full_text_query import Conjunction, Phrase
from ehr_gateway.database import Connection, Dialect
from ehr_gateway.store.store import Version

__all__ = [
    "build_expression",
    "delete_words",
    "match_condition",
    "matching_pks_sql",
    "write_words",
]

_INSERT = {
    "sqlite": "INSERT INTO full_text (rowid, narrative, content) VALUES (?, ?, ?)",
    "postgresql": "INSERT INTO full_text (pk, words) VALUES (?, CAST(? AS tsvector))"
    " ON CONFLICT (pk) DO UPDATE SET words = excluded.words"
    " WHERE full_text.words <> excluded.words",
}
# Of a contentless table FTS5 deletes a row when it is given the words again.
_DELETE_FTS5 = (
    "INSERT INTO full_text (full_text, rowid, narrative, content) VALUES ('delete', ?, ?, ?)"
)
# tsvector weight of the narrative's words.
_NARRATIVE = "A"


def write_words(connection: Connection, versions: Iterable[tuple[Version, FullText]]) -> None:
    """Write the words of several current versions in the place of those before.

    FTS5 can delete a row of a contentless table only if given its text again. On SQLite the key of
    a row is therefore the version's position: the words of older versions stay, as the versions do,
    and each search joins the current ones.
    """
    if connection.dialect == "sqlite":
        rows = [
            (version.position, *(_mark_words(_type_mark(version.type), text) for text in words))
            for version, words in versions
            if any(words)
        ]
    else:
        rows = [
            (version.pk, _tsvector(_type_mark(version.type), words))
            for version, words in versions
            if any(words) or version.version > 1
        ]
    if rows:
        connection.executemany(_INSERT[connection.dialect], rows)


def delete_words(
    connection: Connection, kind: str, pk: int, position: int, words: FullText
) -> None:
    """Delete the words of one version, of an older one too; `words` are those that were written."""
    if connection.dialect == "postgresql":
        connection.execute("DELETE FROM full_text WHERE pk = ?", (pk,))
    elif any(words):
        marked = (_mark_words(_type_mark(kind), text) for text in words)
        connection.execute(_DELETE_FTS5, (position, *marked))


def matching_pks_sql(dialect: Dialect, placeholder: str) -> str:
    """Return the SELECT of the pks that match the expression bound to a placeholder."""
    if dialect == "sqlite":
        return (
            "SELECT c.pk FROM full_text CROSS JOIN resource c ON c.position = full_text.rowid"  # noqa: S608
            f" WHERE full_text MATCH {placeholder} AND c.current = 1"
        )
    matches = f"SELECT pk FROM full_text WHERE words @@ CAST({placeholder} AS tsquery)"  # noqa: S608
    # MATERIALIZED: when it is counted under a LIMIT, PostgreSQL would scan the table instead of the
    # index.
    return f"SELECT pk FROM (WITH w AS MATERIALIZED ({matches}) SELECT pk FROM w) w"  # noqa: S608


def match_condition(dialect: Dialect, placeholder: str) -> str:
    """Return the condition that `r` matches the expression bound to a placeholder."""
    if dialect == "sqlite":
        return (
            f"EXISTS (SELECT 1 FROM full_text WHERE full_text MATCH {placeholder}"  # noqa: S608
            " AND rowid = r.position)"
        )
    # Not EXISTS: PostgreSQL would turn it into a join with every match.
    is_match = f"SELECT words @@ CAST({placeholder} AS tsquery) FROM full_text WHERE pk = r.pk"  # noqa: S608
    return f"COALESCE(({is_match}), FALSE)"


def build_expression(
    dialect: Dialect, kind: str, groups: Iterable[Conjunction], *, narrative: bool = False
) -> str:
    """Build the query expression of a type: an FTS5 query or a tsquery that ORs the groups.

    It needs no quoting: it consists of tokenized words (letters and digits) and the type's mark.
    """
    mark = _type_mark(kind)
    if dialect == "sqlite":
        query = " OR ".join(_fts5_query(mark, group) for group in groups)
        return f"{{narrative}} : ({query})" if narrative else query
    weight = _NARRATIVE if narrative else ""
    return " | ".join(_tsquery(mark, weight, group) for group in groups)


@cache
def _type_mark(kind: str) -> str:
    # A character of Unicode's private use area, which tokenized words never contain.
    return chr(0xE000 + sorted(definitions.resource_types()).index(kind))


def _mark_words(mark: str, text: str) -> str:
    return text and mark + text.replace(" ", f" {mark}")


def _tsvector(mark: str, words: FullText) -> str:
    positions: dict[str, list[str]] = {}
    position = 0
    for text, weight in zip(words, (_NARRATIVE, ""), strict=True):
        for word in text.split():
            position += 1
            positions.setdefault(word, []).append(f"{position}{weight}")
        # A gap, so that no phrase reaches from the narrative into the content.
        position += 1
    # A break takes a position, so that no phrase reaches across it, but is no word.
    positions.pop(PHRASE_BREAK, None)
    return " ".join(f"'{mark}{word}':{','.join(at)}" for word, at in positions.items())


def _fts5_query(mark: str, group: Conjunction) -> str:
    def quote(phrase: Phrase) -> str:
        words = " ".join(f"{mark}{word}" for word in phrase.words)
        return f'"{words}"{" *" if phrase.is_prefix else ""}'

    query = " AND ".join(map(quote, group.required))
    if group.excluded:
        query = f"({query}) NOT ({' OR '.join(map(quote, group.excluded))})"
    return f"({query})"


def _tsquery(mark: str, weight: str, group: Conjunction) -> str:
    def lexemes(phrase: Phrase) -> Iterator[str]:
        for number, word in enumerate(phrase.words, 1):
            labels = weight + ("*" if phrase.is_prefix and number == len(phrase.words) else "")
            yield f"'{mark}{word}'{':' if labels else ''}{labels}"

    terms = [f"({' <-> '.join(lexemes(phrase))})" for phrase in group.required]
    terms += [f"!({' <-> '.join(lexemes(phrase))})" for phrase in group.excluded]
    return f"({' & '.join(terms)})"
