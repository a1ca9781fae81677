"""SQLite and PostgreSQL behind one connection type, with group commit.

In: SQL with named parameters.
Out: rows; errors of the driver as errors of the product.
May import: nothing of the gateway.

SQL is written once, for both; parameters are `:name` or `?`.
"""

from __future__ import annotations

from ehr_gateway.database.array_literal import array_literal
from ehr_gateway.database.connection import (
    BudgetExceeded,
    Connection,
    Cursor,
    Database,
    Dialect,
    JournaledDatabase,
    RedoJournal,
    Row,
)
from ehr_gateway.database.cooperative import run_blocking, run_cooperatively
from ehr_gateway.database.in_clause import encode_list, encode_texts, in_list
from ehr_gateway.database.postgresql import PostgresqlDatabase
from ehr_gateway.database.postgresql_loop import LoopConnection
from ehr_gateway.database.sqlite import SqliteDatabase
from ehr_gateway.database.sqlite_reading import open_for_reading, readable_place
from ehr_gateway.database.tables import create_statements, create_tables
from ehr_gateway.database.url import DATABASE_ERRORS, ROW_REFUSED_ERRORS, open_database

__all__ = [
    "DATABASE_ERRORS",
    "ROW_REFUSED_ERRORS",
    "BudgetExceeded",
    "Connection",
    "Cursor",
    "Database",
    "Dialect",
    "JournaledDatabase",
    "LoopConnection",
    "PostgresqlDatabase",
    "RedoJournal",
    "Row",
    "SqliteDatabase",
    "array_literal",
    "create_statements",
    "create_tables",
    "encode_list",
    "encode_texts",
    "in_list",
    "open_database",
    "open_for_reading",
    "readable_place",
    "run_blocking",
    "run_cooperatively",
]
