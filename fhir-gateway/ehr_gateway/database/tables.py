"""Column types and DDL (CREATE TABLE, CREATE INDEX) for both databases, by SQLAlchemy Core.

Integers have 64 bits and text compares bytewise on both, as SQLite has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Integer, MetaData, String
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateIndex, CreateTable

from ehr_gateway.database.connection import Database, Dialect

__all__ = ["INTEGER", "TEXT", "create_statements", "create_tables"]

INTEGER = BigInteger().with_variant(Integer(), "sqlite")
TEXT = String().with_variant(String(collation="C"), "postgresql")


def create_tables(database: Database, metadata: MetaData) -> None:
    """Create the tables and indexes that are not there yet."""
    with database.write_transaction() as connection:
        for statement in create_statements(metadata, database.dialect):
            connection.execute(statement)


def create_statements(metadata: MetaData, dialect: Dialect) -> Iterator[str]:
    """Yield what creates the tables and indexes that are not there yet."""
    compiler = make_url(f"{dialect}://").get_dialect()()
    for table in metadata.sorted_tables:
        yield str(CreateTable(table, if_not_exists=True).compile(dialect=compiler))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index, if_not_exists=True).compile(dialect=compiler))
