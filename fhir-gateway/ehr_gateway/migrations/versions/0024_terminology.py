"""Code systems that are loaded whole: concepts, levels, words, properties."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from ehr_gateway.database.tables import INTEGER, TEXT

revision, down_revision = "0024", "0023"


def upgrade() -> None:
    """Add the tables and their indexes."""
    op.create_table(
        "terminology_system",
        _key("number"),
        Column("url", TEXT, nullable=False),
        Column("version", TEXT, nullable=False),
        Column("header", TEXT, nullable=False),
        Column("concepts", INTEGER, nullable=False),
        Column("ready", INTEGER, nullable=False),
        Column("loaded_ms", INTEGER, nullable=False),
    )
    op.create_index("terminology_system_url", "terminology_system", ["url", "version"])
    op.create_table(
        "terminology_concept",
        _key("system"),
        _key("position"),
        Column("code_key", TEXT, nullable=False),
        Column("inactive", INTEGER, nullable=False),
        Column("abstract", INTEGER, nullable=False),
        Column("detail", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "terminology_concept_code", "terminology_concept", ["system", "code_key"], unique=True
    )
    op.create_table(
        "terminology_edge",
        _key("system"),
        _key("child"),
        _key("parent"),
        sqlite_with_rowid=False,
    )
    op.create_index("terminology_edge_parent", "terminology_edge", ["system", "parent", "child"])
    op.create_table(
        "terminology_interval",
        _key("system"),
        _key("ancestor"),
        _key("low"),
        Column("high", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "terminology_word",
        _key("system"),
        Column("word", TEXT, primary_key=True),
        _key("position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "terminology_property",
        _key("system"),
        Column("name", TEXT, primary_key=True),
        Column("value", TEXT, primary_key=True),
        _key("position"),
        sqlite_with_rowid=False,
    )


def _key(name: str) -> Column[object]:
    return Column(name, INTEGER, primary_key=True, autoincrement=False)
