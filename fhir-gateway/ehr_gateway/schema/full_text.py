"""DDL of the full-text index: FTS5 on SQLite, a tsvector on PostgreSQL.

In SQL, since SQLAlchemy can describe neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from ehr_gateway.database import Dialect

__all__ = ["FULL_TEXT"]

# Both index words that the gateway has split already, and neither keeps the text. FTS5's tokenizer
# `ascii` splits them again at the spaces only: characters outside ASCII are part of a word to it.
FULL_TEXT: Mapping[Dialect, tuple[str, ...]] = {
    "sqlite": (
        "CREATE VIRTUAL TABLE IF NOT EXISTS full_text USING fts5"
        " (narrative, content, content='', columnsize=0, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE IF NOT EXISTS full_text (pk BIGINT PRIMARY KEY, words tsvector NOT NULL)",
        # In KiB. Every search scans the whole list of entries not yet merged into the index, so it
        # is kept short.
        "CREATE INDEX IF NOT EXISTS full_text_words ON full_text USING gin (words)"
        " WITH (gin_pending_list_limit = 256)",
    ),
}
