"""SQLAlchemy engines for Alembic. All other code uses the drivers directly (`database`)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, NullPool, create_engine, event

__all__ = ["create_migration_engine"]

# As long as the product's own connections wait for a lock.
_BUSY_SECONDS = 30


def create_migration_engine(location: Path | str) -> Engine:
    """Return an engine with transactional DDL, on both databases."""
    if isinstance(location, str):
        # Let libpq parse the URL: SQLAlchemy reads hosts and options in another way.
        return create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(location), poolclass=NullPool
        )
    engine = create_engine(
        "sqlite://",
        # With an isolation level the driver begins transactions itself, and none before DDL.
        creator=lambda: sqlite3.connect(location, timeout=_BUSY_SECONDS, isolation_level=None),
        poolclass=NullPool,
    )
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
