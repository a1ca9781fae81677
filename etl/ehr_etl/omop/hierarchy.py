"""Broader codes of SNOMED CT, by the hierarchy in a vocabulary that the user loaded."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ["read_broader_codes"]

# Values of one statement, below SQLite's limit in older versions.
_AT_ONCE = 900


def read_broader_codes(file: Path, codes: Collection[str]) -> dict[str, str]:
    """Return code -> the next broader one, for some codes of SNOMED CT and all that lie above them.

    A concept may lie below several. Of those the most special counts, which has the most concepts
    above it itself; of equal ones the first by code. So each code has one way to the top.
    """
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        ids = _read_ids(database, codes)
        above = _read_ancestors(database, ids.values())
        above |= _read_ancestors(database, {other for found in above.values() for other in found})
        names = _read_codes(
            database, {*above, *(each for found in above.values() for each in found)}
        )
    broader = {}
    for concept, ancestors in above.items():
        # Classes of other vocabularies may lie above a concept too.
        known = [other for other in ancestors if other in names]
        if concept in names and known:
            nearest = min(known, key=lambda other: (-len(above.get(other, ())), names[other]))
            broader[names[concept]] = names[nearest]
    return broader


def _read_ids(database: sqlite3.Connection, codes: Collection[str]) -> dict[str, int]:
    rows = _select(
        database,
        "SELECT code, concept_id FROM concept WHERE vocabulary = 'SNOMED' AND code IN ({})",
        codes,
    )
    return {str(code): int(concept) for code, concept in rows}


def _read_ancestors(database: sqlite3.Connection, concepts: Collection[int]) -> dict[int, set[int]]:
    above: dict[int, set[int]] = {}
    sql = "SELECT descendant, ancestor FROM ancestor WHERE descendant IN ({})"
    for concept, other in _select(database, sql, concepts):
        above.setdefault(int(concept), set()).add(int(other))
    return above


def _read_codes(database: sqlite3.Connection, concepts: Collection[int]) -> dict[int, str]:
    sql = (
        "SELECT concept_id, code FROM concept"
        " WHERE vocabulary = 'SNOMED' AND valid = 1 AND concept_id IN ({})"
    )
    return {int(concept): str(code) for concept, code in _select(database, sql, concepts)}


def _select(
    database: sqlite3.Connection, sql: str, values: Collection[int] | Collection[str]
) -> list[tuple[Any, Any]]:  # Any: columns of SQLite
    ordered, rows = sorted(values, key=str), list[tuple[Any, Any]]()
    for start in range(0, len(ordered), _AT_ONCE):
        part = ordered[start : start + _AT_ONCE]
        rows += database.execute(sql.format(", ".join("?" * len(part))), part).fetchall()
    return rows
