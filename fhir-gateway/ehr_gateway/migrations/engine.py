"""SQLAlchemy engines for Alembic; the product itself speaks to the drivers (`database`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, NullPool, create_engine, event

__all__ = ["create_migration_engine"]

_BUSY_SECONDS = 30


def create_migration_engine(place: Path | str) -> Engine:
    """Return an engine whose transactions hold changes of tables too, on both databases."""
    if isinstance(place, str):
        # The URL as libpq reads it: SQLAlchemy's reading of hosts and options differs.
        return create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(place), poolclass=NullPool
        )
    engine = create_engine(
        "sqlite://",
        # Without an isolation level the driver opens no transaction of its own: it would open none
        # before a CREATE TABLE.
        creator=lambda: sqlite3.connect(place, timeout=_BUSY_SECONDS, isolation_level=None),
        poolclass=NullPool,
    )
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
