"""Staged PostgreSQL database: restored under a temporary name, renamed when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ehr_fhir.errors import Conflict, Unavailable
from ehr_gateway.backup.create import DATABASE_DUMP
from ehr_gateway.backup.snapshots import load_postgresql

__all__ = ["staged_database"]


@contextmanager
def staged_database(
    staging: Path, database_url: str | None, on_step: Callable[[str], None]
) -> Iterator[str | None]:
    """Load the dump into a database of a temporary name; yield its URL, rename it on success.

    On failure the temporary database is dropped, and the one named is as it was. Yields None for an
    SQLite store, whose file is in the staging folder already. Raises Conflict if the database named
    exists and has tables, Unavailable if PostgreSQL refuses.
    """
    if database_url is None:
        yield None
        return
    name = str(conninfo_to_dict(database_url).get("dbname") or "")
    staged_name = f"{name}_restoring"
    # PostgreSQL cannot create or rename a database that the session is connected to.
    maintenance_conninfo = make_conninfo(database_url, dbname="postgres")
    try:
        with psycopg.connect(maintenance_conninfo, autocommit=True) as connection:
            _check_database_empty(connection, database_url, name)
            _execute_ddl(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", staged_name)
            _execute_ddl(connection, "CREATE DATABASE {} TEMPLATE template0", staged_name)
            try:
                on_step("Filling the database.")
                dump = staging / DATABASE_DUMP
                staged_url = _replace_database_name(database_url, staged_name)
                load_postgresql(dump, staged_url)
                dump.unlink()
                yield staged_url
                _execute_ddl(connection, "DROP DATABASE IF EXISTS {}", name)
                _execute_ddl(connection, "ALTER DATABASE {} RENAME TO {}", staged_name, name)
            except BaseException:
                _execute_ddl(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", staged_name)
                raise
    except psycopg.Error as error:
        raise Unavailable(
            f"The database could not be restored ({type(error).__name__}); its user must have the "
            "right to create databases."
        ) from error


def _check_database_empty(connection: psycopg.Connection, database_url: str, name: str) -> None:
    statement = "SELECT 1 FROM pg_database WHERE datname = %s"
    if connection.execute(statement, (name,)).fetchone() is None:
        return
    with psycopg.connect(database_url) as target:
        row = target.execute(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')"
            " AND n.nspname NOT LIKE 'pg_toast%'"
        ).fetchone()
    if row is None or row[0]:
        raise Conflict(
            f"The database {name} is not empty: a restore writes over nothing. Name a new one."
        )


def _execute_ddl(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _replace_database_name(url: str, name: str) -> str:
    # A URL and not a conninfo string: the settings accept nothing else.
    return f"postgresql:///?{_format_query(make_conninfo(url, dbname=name))}"


def _format_query(conninfo: str) -> str:
    return urlencode({key: str(value) for key, value in conninfo_to_dict(conninfo).items()})
