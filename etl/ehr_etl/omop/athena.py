"""The user's own vocabulary: a folder that they downloaded from OHDSI's Athena, checked and loaded.

Each file becomes the CDM's table of its name. Beside them, one SQLite file answers what the
transformation asks of single codes; it is read only, and goes to every worker.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from ehr_etl.lake import GOLD_BUCKET, GOLD_KEY, Lake
from ehr_etl.omop.cdm import VOCABULARY_TABLES, load_cdm, table_name, table_schema
from ehr_etl.omop.state import (
    OmopState,
    load_state,
    save_state,
    send_vocabulary,
    vocabulary_file,
)
from ehr_fhir.errors import Invalid, NotFound

__all__ = ["DATABASE_SCHEMA", "VocabularyReport", "load_vocabulary"]

_NEEDED = ("concept", "concept_relationship", "vocabulary")
_BLOCK = 1 << 20
_DUCKDB_TYPES = {
    pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.date32(): "DATE", pa.string(): "VARCHAR",
}  # fmt: skip
# Of the SQLite file that is made of a vocabulary.
DATABASE_SCHEMA = """
CREATE TABLE concept (concept_id INTEGER PRIMARY KEY, vocabulary TEXT, code TEXT, domain TEXT,
    class TEXT, standard TEXT, valid INTEGER) WITHOUT ROWID;
CREATE TABLE maps (source INTEGER, kind TEXT, target INTEGER,
    PRIMARY KEY (source, kind, target)) WITHOUT ROWID;
CREATE TABLE ancestor (descendant INTEGER, ancestor INTEGER,
    PRIMARY KEY (descendant, ancestor)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class VocabularyReport:
    """What was loaded: the release, and the rows of each table; `is_known` if it was before."""

    release: str
    rows: dict[str, int]
    is_known: bool


def load_vocabulary(lake: Lake, folder: Path) -> VocabularyReport:
    """Load an Athena folder; loading the same one again changes nothing."""
    files = _find_files(folder)
    digest = _digest(files)
    state = load_state(lake)
    if state is not None and state.vocabulary == digest:
        return VocabularyReport(state.release, {}, is_known=True)
    with duckdb.connect() as connection:
        release = _read_release(connection, files["vocabulary"])
        rows = {name: _write_table(connection, lake, name, file) for name, file in files.items()}
        for name in VOCABULARY_TABLES:
            if name not in files:
                _write_rows(lake, name, table_schema(name).empty_table())
        _write_database(connection, files, vocabulary_file(lake, digest))
        send_vocabulary(lake, vocabulary_file(lake, digest))
    # Only now: a load that was cut short is done again.
    save_state(lake, OmopState(release, digest))
    for old in vocabulary_file(lake, "").parent.glob("vocabulary-*.sqlite"):
        if old != vocabulary_file(lake, digest):
            old.unlink()
    return VocabularyReport(release, rows, is_known=False)


def _find_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.")
    present = {file.name.upper(): file for file in folder.iterdir()}
    files = {
        name: present[f"{name.upper()}.CSV"]
        for name in VOCABULARY_TABLES
        if f"{name.upper()}.CSV" in present
    }
    missing = [f"{name.upper()}.csv" for name in _NEEDED if name not in files]
    if missing:
        raise Invalid(f"{folder} is not an Athena download: {', '.join(missing)} is missing.")
    for name, file in files.items():
        with file.open(encoding="utf-8") as lines:
            columns = lines.readline().rstrip("\r\n").split("\t")
        absent = [field.name for field in load_cdm()[name] if field.name not in columns]
        if absent:
            raise Invalid(f"{file.name} has no column {', '.join(absent)}: is it tab-separated?")
    return files


def _digest(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(name.encode())
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:32]


def _read_release(connection: duckdb.DuckDBPyConnection, file: Path) -> str:
    """Return the release: the version of the vocabulary that is called None."""
    row = connection.execute(
        f"SELECT vocabulary_version FROM ({_select('vocabulary', file)})"  # noqa: S608
        " WHERE vocabulary_id = 'None'"
    ).fetchone()
    if row is None or not row[0]:
        raise Invalid("VOCABULARY.csv does not name its release (the vocabulary 'None').")
    return str(row[0])


def _select(name: str, file: Path) -> str:
    """Return SQL that reads a file with the CDM's types; an empty field is null (no quotes)."""
    columns = ", ".join(_column(field.name, field.arrow_type) for field in load_cdm()[name])
    path = str(file).replace("'", "''")
    return (
        f"SELECT {columns} FROM read_csv('{path}', delim = '\t', quote = '', escape = '',"  # noqa: S608
        " header = true, all_varchar = true, nullstr = '')"
    )


def _column(name: str, arrow_type: pa.DataType) -> str:
    if arrow_type == pa.date32():
        return f'CAST(strptime("{name}", \'%Y%m%d\') AS DATE) AS "{name}"'
    return f'CAST("{name}" AS {_DUCKDB_TYPES[arrow_type]}) AS "{name}"'


def _write_table(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str, file: Path) -> int:
    try:
        reader = (
            connection.cursor()
            .sql(
                f"SELECT CAST(0 AS INTEGER) AS {GOLD_BUCKET}, '' AS {GOLD_KEY}, *"  # noqa: S608
                f" FROM ({_select(name, file)})"
            )
            .to_arrow_reader(100_000)
        )
        schema = table_schema(name)
        rows = 0

        def cast() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in reader:
                rows += batch.num_rows
                yield from (
                    pa.Table.from_batches([batch]).select(schema.names).cast(schema).to_batches()
                )

        _write_rows(lake, name, pa.RecordBatchReader.from_batches(schema, cast()))
    except duckdb.Error as error:
        raise Invalid(f"{file.name} cannot be read: {type(error).__name__}.") from error
    return rows


def _write_rows(lake: Lake, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
    write_deltalake(lake.open_table(table_name(name)), rows, mode="overwrite")


def _write_database(
    connection: duckdb.DuckDBPyConnection, files: dict[str, Path], target: Path
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    database = sqlite3.connect(partial)
    try:
        database.executescript(DATABASE_SCHEMA)
        # A blank and a null in invalid_reason both mean valid: releases differ in it.
        _copy(connection, database, "concept", 7,
              "SELECT concept_id, vocabulary_id, concept_code, domain_id, concept_class_id,"  # noqa: S608
              " standard_concept, CAST(coalesce(trim(invalid_reason), '') = '' AS INTEGER)"
              f" FROM ({_select('concept', files['concept'])})")  # fmt: skip
        _copy(connection, database, "maps", 3,
              "SELECT DISTINCT concept_id_1, relationship_id, concept_id_2"  # noqa: S608
              f" FROM ({_select('concept_relationship', files['concept_relationship'])})"
              " WHERE relationship_id IN ('Maps to', 'Maps to value')"
              " AND coalesce(trim(invalid_reason), '') = ''")  # fmt: skip
        if "concept_ancestor" in files:
            _copy(connection, database, "ancestor", 2,
                  "SELECT DISTINCT descendant_concept_id, ancestor_concept_id"  # noqa: S608
                  f" FROM ({_select('concept_ancestor', files['concept_ancestor'])})"
                  " WHERE descendant_concept_id <> ancestor_concept_id")  # fmt: skip
        database.execute("CREATE INDEX concept_code ON concept (vocabulary, code)")
        database.commit()
    finally:
        database.close()
    partial.replace(target)


def _copy(
    connection: duckdb.DuckDBPyConnection,
    database: sqlite3.Connection,
    table: str,
    columns: int,
    sql: str,
) -> None:
    cursor = connection.execute(sql)
    marks = ", ".join("?" * columns)
    while rows := cursor.fetchmany(50_000):
        database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
