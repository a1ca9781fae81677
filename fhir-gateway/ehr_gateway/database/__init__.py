"""Where the store lives: an SQLite file or a PostgreSQL database, behind one small seam.

The SQL is written once, for both; parameters are `:name` or `?`.
"""

from __future__ import annotations

from ehr_gateway.database.connection import (
    Connection,
    Cursor,
    Database,
    Dialect,
    Row,
    TakesLong,
)
from ehr_gateway.database.lists import among, listed
from ehr_gateway.database.opening import DATABASE_ERRORS, REFUSALS, open_database
from ehr_gateway.database.sqlite import SqliteDatabase
from ehr_gateway.database.tables import create_tables

__all__ = [
    "DATABASE_ERRORS",
    "REFUSALS",
    "Connection",
    "Cursor",
    "Database",
    "Dialect",
    "Row",
    "SqliteDatabase",
    "TakesLong",
    "among",
    "create_tables",
    "listed",
    "open_database",
]
