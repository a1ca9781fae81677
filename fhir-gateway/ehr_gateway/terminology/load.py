"""Load a code system into the tables: numbered, indexed by words and properties, then made known.

It is written in batches, so that other writers wait for one at most, and found by nobody until all
of it is there; what a load that was cut short left behind is deleted by the next one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import orjson

from ehr_fhir.errors import Unprocessable
from ehr_fhir.terminology.code_system import SystemHeader
from ehr_fhir.terminology.concepts import Concept, value_text, words_of
from ehr_gateway.database import Connection, Database
from ehr_gateway.database.array_literal import array_literal
from ehr_gateway.terminology.hierarchy import Hierarchy, number_hierarchy

__all__ = ["LoadedConcept", "LoadedSystem", "delete_system", "list_systems", "load_code_system"]

# Rows of one transaction. Chosen: half a second of the writer's turn.
_BATCH = 50_000
_INTEGERS = frozenset({
    "abstract", "ancestor", "child", "high", "inactive", "low", "parent", "position", "system",
})  # fmt: skip
_COLUMNS = {
    "terminology_concept": ("system", "position", "code_key", "inactive", "abstract", "detail"),
    "terminology_edge": ("system", "child", "parent"),
    "terminology_interval": ("system", "ancestor", "low", "high"),
    "terminology_word": ("system", "word", "position"),
    "terminology_property": ("system", "name", "value", "position"),
}
# Values by which no filter asks: a text of a publisher, not a value.
_MAX_VALUE = 200
_Row = tuple[int | str, ...]
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class LoadedConcept:
    """A concept as a publisher's file has it: CodeSystem.concept, and the codes next above it."""

    detail: Mapping[str, Any]
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedSystem:
    """A code system that was loaded."""

    number: int
    header: SystemHeader
    concepts: int


def load_code_system(
    database: Database,
    header: SystemHeader,
    concepts: Iterable[LoadedConcept],
    *,
    now_ms: int,
    progress: Progress = lambda table, rows: None,
) -> LoadedSystem:
    """Load a code system in the place of the same version of it, if there is one.

    Raise Unprocessable for a code that is there twice, or a parent that is not there.
    """
    kept = list(concepts)
    if not header.url or not kept:
        raise Unprocessable("A code system has a url and at least one concept.")
    numbers = _number_codes(header, kept)
    edges = list(_edges(header, kept, numbers))
    hierarchy = number_hierarchy(len(kept), edges)
    with database.write_transaction() as connection:
        _delete_unfinished(connection)
        number = _insert_system(connection, header, len(kept), now_ms)
    for table, rows in (
        ("terminology_concept", _concept_rows(number, header, kept, hierarchy)),
        ("terminology_edge", _edge_rows(number, edges, hierarchy)),
        ("terminology_interval", _interval_rows(number, hierarchy)),
        ("terminology_word", _word_rows(number, header, kept, hierarchy)),
        ("terminology_property", _property_rows(number, kept, hierarchy)),
    ):
        written = 0
        while batch := list(islice(rows, _BATCH)):
            with database.write_transaction() as connection:
                _insert(connection, table, batch)
            written += len(batch)
            progress(table, written)
    with database.write_transaction() as connection:
        for old in _numbers(connection, header, ready=1):
            _delete(connection, old)
        connection.execute("UPDATE terminology_system SET ready = 1 WHERE number = ?", (number,))
        if connection.dialect == "postgresql":
            for table in _COLUMNS:
                connection.execute(f"ANALYZE {table}")
    return LoadedSystem(number, header, len(kept))


def list_systems(connection: Connection) -> list[LoadedSystem]:
    """Return the code systems that were loaded, by url and version."""
    rows = connection.execute(
        "SELECT number, header, concepts FROM terminology_system WHERE ready = 1"
        " ORDER BY url, version"
    )
    return [
        LoadedSystem(row["number"], read_header(row["header"]), row["concepts"]) for row in rows
    ]


def delete_system(database: Database, url: str, version: str | None) -> int:
    """Delete the loaded versions of a code system, or one of them; return how many there were."""
    with database.write_transaction() as connection:
        found = [
            one.number
            for one in list_systems(connection)
            if one.header.url == url and version in (None, one.header.version)
        ]
        for number in found:
            _delete(connection, number)
    return len(found)


def read_header(text: str) -> SystemHeader:
    """Return a header from its column."""
    return SystemHeader(**orjson.loads(text))


def _number_codes(header: SystemHeader, concepts: Sequence[LoadedConcept]) -> dict[str, int]:
    """Return the number of each code's key."""
    numbers = {
        code_key(header, str(one.detail["code"])): index for index, one in enumerate(concepts)
    }
    if len(numbers) < len(concepts):
        raise Unprocessable("A code is there twice.", issue_code="duplicate")
    return numbers


def code_key(header: SystemHeader, code: str) -> str:
    """Return a code as it is looked up."""
    return code if header.is_case_sensitive else code.casefold()


def _edges(
    header: SystemHeader, concepts: Sequence[LoadedConcept], numbers: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    for child, one in enumerate(concepts):
        for parent in dict.fromkeys(one.parents):
            number = numbers.get(code_key(header, parent))
            if number is None:
                raise Unprocessable("A concept's parent is not in the code system.")
            if number != child:
                yield child, number


def _concept_rows(
    system: int, header: SystemHeader, concepts: Sequence[LoadedConcept], hierarchy: Hierarchy
) -> Iterator[_Row]:
    for position, index in enumerate(hierarchy.order):
        detail = concepts[index].detail
        concept = Concept(header.url, str(detail["code"]), detail)
        yield (
            system,
            position,
            code_key(header, concept.code),
            int(concept.is_inactive),
            int(concept.is_abstract),
            orjson.dumps(detail, default=str).decode(),
        )


def _edge_rows(
    system: int, edges: Iterable[tuple[int, int]], hierarchy: Hierarchy
) -> Iterator[_Row]:
    at = hierarchy.positions
    yield from sorted((system, at[child], at[parent]) for child, parent in edges)


def _interval_rows(system: int, hierarchy: Hierarchy) -> Iterator[_Row]:
    for ancestor in sorted(hierarchy.intervals):
        for low, high in hierarchy.intervals[ancestor]:
            yield system, ancestor, low, high


def _word_rows(
    system: int, header: SystemHeader, concepts: Sequence[LoadedConcept], hierarchy: Hierarchy
) -> Iterator[_Row]:
    """Yield the words in order, so that neighbours of a B-tree are written together."""
    found: dict[str, array[int]] = {}
    for position, index in enumerate(hierarchy.order):
        detail = concepts[index].detail
        for word in words_of(Concept(header.url, str(detail["code"]), detail)):
            found.setdefault(word, array("l")).append(position)
    for word in sorted(found):
        for position in found[word]:
            yield system, word, position


def _property_rows(
    system: int, concepts: Sequence[LoadedConcept], hierarchy: Hierarchy
) -> Iterator[_Row]:
    found: dict[tuple[str, str], array[int]] = {}
    for position, index in enumerate(hierarchy.order):
        for one in concepts[index].detail.get("property", ()):
            key = str(one.get("code", "")), value_text(one)[:_MAX_VALUE]
            places = found.setdefault(key, array("l"))
            if not places or places[-1] != position:
                places.append(position)
    for name, value in sorted(found):
        for position in found[name, value]:
            yield system, name, value, position


def _insert(connection: Connection, table: str, rows: Sequence[_Row]) -> None:
    names = _COLUMNS[table]
    columns = ", ".join(names)
    if connection.dialect == "sqlite":
        marks = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608
        return
    # Each column as an array: a statement for each row takes ten times as long.
    kinds = ", ".join(f"CAST(? AS {'bigint' if name in _INTEGERS else 'text'}[])" for name in names)
    connection.execute(
        f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({kinds})",  # noqa: S608
        [array_literal(column) for column in zip(*rows, strict=True)],
    )


def _insert_system(connection: Connection, header: SystemHeader, concepts: int, now_ms: int) -> int:
    row = connection.execute("SELECT COALESCE(MAX(number), 0) + 1 FROM terminology_system")
    number = int(row.fetchone()[0])
    text = orjson.dumps({**asdict(header), "properties": dict(header.properties)}).decode()
    connection.execute(
        "INSERT INTO terminology_system (number, url, version, header, concepts, ready, loaded_ms)"
        " VALUES (?, ?, ?, ?, ?, 0, ?)",
        (number, header.url, header.version or "", text, concepts, now_ms),
    )
    return number


def _numbers(connection: Connection, header: SystemHeader, *, ready: int) -> list[int]:
    rows = connection.execute(
        "SELECT number FROM terminology_system WHERE url = ? AND version = ? AND ready = ?",
        (header.url, header.version or "", ready),
    )
    return [row["number"] for row in rows.fetchall()]


def _delete_unfinished(connection: Connection) -> None:
    rows = connection.execute("SELECT number FROM terminology_system WHERE ready = 0").fetchall()
    for row in rows:
        _delete(connection, row["number"])


def _delete(connection: Connection, number: int) -> None:
    for table in _COLUMNS:
        connection.execute(f"DELETE FROM {table} WHERE system = ?", (number,))  # noqa: S608
    connection.execute("DELETE FROM terminology_system WHERE number = ?", (number,))
