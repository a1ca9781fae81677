"""The columns of a flat file (CSV, Parquet) as texts, and faults named by column and row.

A fault never shows a cell: rows are counted from 1, the first below the header.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from ehr_fhir.errors import NotFound, Unprocessable

_READERS = {".csv": "read_csv(?, all_varchar = true, header = true)", ".parquet": "read_parquet(?)"}
_SHOWN_ROWS = 3
# What a .csv.gz may unpack to. Chosen: a hundred times the table that comes with the platform, and
# a packed file of a few megabytes cannot fill the memory.
MOST_UNPACKED_BYTES = 2 * 2**30
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class SourceTable:
    """A file's columns, all texts, missing where the cell is empty, and its SHA-256."""

    name: str
    sha256: str
    columns: pd.DataFrame


def read_source_table(path: Path, columns: Sequence[str], missing: Sequence[str]) -> SourceTable:
    """Read some columns of a CSV file (also .csv.gz) or a Parquet file.

    Cells with a text of `missing` are empty.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in _READERS:
        raise Unprocessable(f"{path.name}: only .csv, .csv.gz and .parquet files can be read.")
    reader = _READERS[kind]
    if path.suffix == ".gz":
        check_unpacked_size(path)
    with duckdb.connect() as connection:
        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM {reader}", [str(path)])  # noqa: S608
            known = [row[0] for row in described.fetchall()]
            if absent := [column for column in columns if column not in known]:
                raise Unprocessable(
                    f"{path.name} has no column {', '.join(absent)}, which the mapping names; it "
                    f"has {', '.join(known)}."
                )
            names = ", ".join(f'CAST("{_quote(column)}" AS VARCHAR)' for column in columns)
            found = connection.execute(f"SELECT {names} FROM {reader}", [str(path)]).fetch_df()  # noqa: S608
        except duckdb.Error as error:
            # DuckDB's text would quote the line.
            raise Unprocessable(f"{path.name} cannot be read as a {kind[1:]} table.") from error
    found.columns = pd.Index(columns)
    texts = found.mask(found.isin(list(missing)))
    if texts.empty:
        raise Unprocessable(f"{path.name} has no rows.")
    return SourceTable(path.name, _hash_file(path), texts)


def check_unpacked_size(path: Path) -> None:
    """Refuse a file that unpacks to more than a table may have, before anything is kept of it."""
    size = 0
    try:
        with gzip.open(path) as unpacked:
            while chunk := unpacked.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > MOST_UNPACKED_BYTES:
                    raise Unprocessable(
                        f"{path.name} has more than {MOST_UNPACKED_BYTES / 2**30:g} GiB when it is"
                        " unpacked: unpack it, or make a Parquet file of it."
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise Unprocessable(f"{path.name} cannot be unpacked.") from error


def refuse_rows(wrong: pd.Series[bool], column: str, fault: str) -> None:
    """Raise Unprocessable with column and row numbers, by the index, where a row is wrong."""
    rows = [int(place) + 1 for place in wrong.index[wrong.to_numpy(dtype=bool)]]
    if rows:
        shown = ", ".join(str(row) for row in rows[:_SHOWN_ROWS])
        more = f" and {len(rows) - _SHOWN_ROWS:,} more" if len(rows) > _SHOWN_ROWS else ""
        raise Unprocessable(f"Column {column}: {fault} (row {shown}{more}).")


def _quote(column: str) -> str:
    return column.replace('"', '""')


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
