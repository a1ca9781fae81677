"""Closure tables: which of a program's codes are above which, kept up as it adds codes.

Kept are the codes and the version of the table at which each was added. What is above what is asked
of the code system when it is told, so that a replay tells what holds now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ehr_fhir.terminology.code_system import CodeSystem
from ehr_gateway.database import Connection

__all__ = ["ClosureTable", "KeptCode", "add_codes", "begin_table", "erase_tables"]
__all__ += ["list_relations", "read_table"]

# Of one program; the one that was changed longest ago goes first (R4 §4.7.13 lets a server drop).
_MOST_TABLES = 100


@dataclass(frozen=True)
class KeptCode:
    """A code of a closure table, and the version of the table since which it is there."""

    system: str
    code: str
    added: int


@dataclass(frozen=True)
class ClosureTable:
    """A program's closure table at one version."""

    owner: str
    name: str
    version: int
    codes: tuple[KeptCode, ...]


def begin_table(connection: Connection, owner: str, name: str, now_ms: int) -> None:
    """Begin a table anew, empty."""
    connection.execute(
        "INSERT INTO closure_table (owner, name, version, changed_ms) VALUES (?, ?, 0, ?)"
        " ON CONFLICT (owner, name) DO UPDATE SET version = 0, changed_ms = excluded.changed_ms",
        (owner, name, now_ms),
    )
    connection.execute("DELETE FROM closure_concept WHERE owner = ? AND name = ?", (owner, name))
    rows = connection.execute(
        "SELECT name FROM closure_table WHERE owner = ? AND name <> ?"
        " ORDER BY changed_ms DESC, name",
        (owner, name),
    ).fetchall()
    for row in rows[_MOST_TABLES - 1 :]:
        _delete_table(connection, owner, row["name"])


def erase_tables(connection: Connection, names: Collection[str]) -> None:
    """Drop the tables that a program named by an erased patient, or by a record of theirs."""
    for row in connection.execute("SELECT owner, name FROM closure_table").fetchall():
        if any(name in row["name"] for name in names):
            _delete_table(connection, row["owner"], row["name"])


def read_table(connection: Connection, owner: str, name: str) -> ClosureTable | None:
    """Return a table, None where there is none."""
    row = connection.execute(
        "SELECT version FROM closure_table WHERE owner = ? AND name = ?", (owner, name)
    ).fetchone()
    if row is None:
        return None
    rows = connection.execute(
        "SELECT system, code, added FROM closure_concept WHERE owner = ? AND name = ?"
        " ORDER BY added, system, code",
        (owner, name),
    ).fetchall()
    codes = tuple(KeptCode(one["system"], one["code"], one["added"]) for one in rows)
    return ClosureTable(owner, name, row["version"], codes)


def add_codes(
    connection: Connection, table: ClosureTable, codes: Iterable[KeptCode], now_ms: int
) -> bool:
    """Add codes as the next version; False where the table was changed since it was read."""
    row = connection.execute(
        "UPDATE closure_table SET version = version + 1, changed_ms = ?"
        " WHERE owner = ? AND name = ? AND version = ? RETURNING version",
        (now_ms, table.owner, table.name, table.version),
    ).fetchone()
    if row is None:
        return False
    for one in codes:
        connection.execute(
            "INSERT INTO closure_concept (owner, name, system, code, added) VALUES (?, ?, ?, ?, ?)",
            (table.owner, table.name, one.system, one.code, row["version"]),
        )
    return True


def list_relations(
    system: CodeSystem, codes: Sequence[KeptCode], since: int
) -> dict[str, list[str]]:
    """Return by code those above it, for pairs of which one was added after version `since`."""
    added = {one.code: one.added for one in codes if one.system == system.header.url}
    new = {code for code, version in added.items() if version > since}
    found: dict[str, list[str]] = {}
    for code in sorted(added) if new else ():
        others = added.keys() if code in new else new
        if above := sorted((others & set(system.lineage(code, "above"))) - {code}):
            found[code] = above
    return found


def _delete_table(connection: Connection, owner: str, name: str) -> None:
    for table in ("closure_concept", "closure_table"):
        connection.execute(
            f"DELETE FROM {table} WHERE owner = ? AND name = ?",  # noqa: S608 - named above
            (owner, name),
        )
