"""The full-text index: FTS5 on SQLite, a tsvector on PostgreSQL; SQLAlchemy knows neither."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_gateway.database import Dialect

__all__ = ["FULL_TEXT"]

# FTS5's own tokenizer for ASCII parts at our spaces: all that is no letter of ASCII is part of a
# word to it. Neither database keeps the text itself.
FULL_TEXT: Mapping[Dialect, tuple[str, ...]] = {
    "sqlite": (
        "CREATE VIRTUAL TABLE IF NOT EXISTS full_text USING fts5"
        " (narrative, content, content='', columnsize=0, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE IF NOT EXISTS full_text (pk BIGINT PRIMARY KEY, words tsvector NOT NULL)",
        # In KiB: what waits to be sorted in is read by every search from its beginning to its end.
        "CREATE INDEX IF NOT EXISTS full_text_words ON full_text USING gin (words)"
        " WITH (gin_pending_list_limit = 256)",
    ),
}
