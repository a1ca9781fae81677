"""Tables of code systems that were loaded whole, such as SNOMED CT: concepts, levels, words.

A concept's position is its place in its code system, in which what is below a concept follows it.
So all that is below one is a few intervals of positions, whatever their number: one for a tree, a
few more where concepts have several parents.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index, MetaData, Table
from sqlalchemy.types import TypeEngine

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()


def _key(name: str, kind: TypeEngine[Any] = INTEGER) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


Table(
    "terminology_system",
    METADATA,
    _key("number"),
    Column("url", TEXT, nullable=False),
    # Empty where it has none.
    Column("version", TEXT, nullable=False),
    # The header as JSON: name, whether case matters, languages, properties.
    Column("header", TEXT, nullable=False),
    Column("concepts", INTEGER, nullable=False),
    # 0 while it is being loaded: nobody finds it then.
    Column("ready", INTEGER, nullable=False),
    Column("loaded_ms", INTEGER, nullable=False),
    Index("terminology_system_url", "url", "version"),
)
Table(
    "terminology_concept",
    METADATA,
    _key("system"),
    _key("position"),
    # As it is looked up: folded where case means nothing.
    Column("code_key", TEXT, nullable=False),
    Column("inactive", INTEGER, nullable=False),
    Column("abstract", INTEGER, nullable=False),
    # CodeSystem.concept as JSON, without those nested in it.
    Column("detail", TEXT, nullable=False),
    Index("terminology_concept_code", "system", "code_key", unique=True),
    sqlite_with_rowid=False,
)
Table(
    "terminology_edge",
    METADATA,
    _key("system"),
    _key("child"),
    _key("parent"),
    Index("terminology_edge_parent", "system", "parent", "child"),
    sqlite_with_rowid=False,
)
# Positions from `low` to `high`, both included, are `ancestor` or below it. Of what has nothing
# below it there is no row.
Table(
    "terminology_interval",
    METADATA,
    _key("system"),
    _key("ancestor"),
    _key("low"),
    Column("high", INTEGER, nullable=False),
    sqlite_with_rowid=False,
)
Table(
    "terminology_word",
    METADATA,
    _key("system"),
    _key("word", TEXT),
    _key("position"),
    sqlite_with_rowid=False,
)
Table(
    "terminology_property",
    METADATA,
    _key("system"),
    _key("name", TEXT),
    _key("value", TEXT),
    _key("position"),
    sqlite_with_rowid=False,
)
# The codes of a program's closure tables (`$closure`): whose, and its name for the table.
Table(
    "closure_table",
    METADATA,
    _key("owner", TEXT),
    _key("name", TEXT),
    Column("version", INTEGER, nullable=False),
    Column("changed_ms", INTEGER, nullable=False),
    sqlite_with_rowid=False,
)
Table(
    "closure_concept",
    METADATA,
    _key("owner", TEXT),
    _key("name", TEXT),
    _key("system", TEXT),
    _key("code", TEXT),
    # The version of the table at which it was added.
    Column("added", INTEGER, nullable=False),
    sqlite_with_rowid=False,
)
