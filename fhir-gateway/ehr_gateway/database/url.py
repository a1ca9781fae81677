"""Which database an address names."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg

from ehr_gateway.database.connection import Database
from ehr_gateway.database.postgresql import PostgresqlDatabase
from ehr_gateway.database.sqlite import SqliteDatabase

__all__ = ["DATABASE_ERRORS", "ROW_REFUSED_ERRORS", "open_database"]

DATABASE_ERRORS = (sqlite3.Error, psycopg.Error)
# What is raised for a row that a database will never take, however often it is tried.
ROW_REFUSED_ERRORS = (
    *(sqlite3.IntegrityError, sqlite3.DataError),
    *(psycopg.IntegrityError, psycopg.DataError),
)


def open_database(place: Path | str) -> Database:
    """Open an SQLite file, made when it is missing, or the PostgreSQL database of a URL."""
    if isinstance(place, Path):
        return SqliteDatabase(place)
    return PostgresqlDatabase(place)
