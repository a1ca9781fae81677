"""Open the database that a path or a PostgreSQL URL names."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg

from ehr_gateway.database.connection import JournaledDatabase
from ehr_gateway.database.postgresql import PostgresqlDatabase
from ehr_gateway.database.sqlite import SqliteDatabase

__all__ = ["DATABASE_ERRORS", "ROW_REFUSED_ERRORS", "open_database"]

DATABASE_ERRORS = (sqlite3.Error, psycopg.Error)
# Errors of a row that the database will refuse however often it is tried.
ROW_REFUSED_ERRORS = (
    *(sqlite3.IntegrityError, sqlite3.DataError),
    *(psycopg.IntegrityError, psycopg.DataError),
)


def open_database(location: Path | str) -> JournaledDatabase:
    """Open an SQLite file, created if missing, or the PostgreSQL database of a URL."""
    if isinstance(location, Path):
        return SqliteDatabase(location)
    return PostgresqlDatabase(location)
