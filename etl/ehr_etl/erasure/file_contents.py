"""Contents of files as a scan has to see them: pages decompressed, dictionaries, rows, raw bytes.

The raw bytes of every file are part of its contents, so headers, footers, statistics and free space
are looked at as well.
"""

from __future__ import annotations

import gzip
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["read_contents", "read_sqlite_rows"]

_PIECE_BYTES = 8 << 20
_BATCH_ROWS = 4096
_SQLITE_MAGIC = b"SQLite format 3\0"
_PARQUET_MAGIC = b"PAR1"
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"


def read_contents(path: Path) -> Iterator[bytes]:
    """Yield the raw bytes of a file, and then what they hold once decompressed or read as rows."""
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            yield piece
    if head.startswith(_PARQUET_MAGIC):
        yield from _read_parquet(path)
    elif head == _SQLITE_MAGIC:
        yield from read_sqlite_rows(path)
    elif head.startswith(_GZIP_MAGIC):
        with gzip.open(path) as unpacked:
            while piece := unpacked.read(_PIECE_BYTES):
                yield piece
    elif head.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    while piece := member.read(_PIECE_BYTES):
                        yield piece


def _read_parquet(path: Path) -> Iterator[bytes]:
    """Yield the values of every column, with whole dictionaries, whether a row uses them or not."""
    schema = pq.read_schema(path)
    texts = [item.name for item in schema if pa.types.is_string(item.type)]
    for dictionaries in ([], texts) if texts else ([],):
        with pq.ParquetFile(path, read_dictionary=dictionaries) as file:
            names = dictionaries or None
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                for column in batch.columns:
                    yield from _read_buffers(column)


def _read_buffers(column: pa.Array) -> Iterator[bytes]:
    """Yield the bytes of an array: of texts the texts, of others what they are made of."""
    for buffer in column.buffers():
        if buffer is not None and buffer.size:
            yield buffer.to_pybytes()
    if pa.types.is_dictionary(column.type):
        yield from _read_buffers(column.dictionary)


def read_sqlite_rows(path: Path) -> Iterator[bytes]:
    """Yield the values of all rows of a database, and the words of its full-text indexes.

    A value may be cut by pages, and an index stores a word by how it differs from the one before,
    so raw bytes alone do not show them.
    """
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=30)) as connection:
        connection.text_factory = bytes
        tables = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        for name, statement in tables:
            table = name.decode()
            if b"using fts5" in (statement or b"").lower():
                yield from _read_words(connection, table)
            else:
                yield from _read_values(connection.execute(f'SELECT * FROM "{table}"'))  # noqa: S608


def _read_words(connection: sqlite3.Connection, table: str) -> Iterator[bytes]:
    connection.execute(
        f"CREATE VIRTUAL TABLE temp.scanned_words USING fts5vocab(main, '{table}', row)"
    )
    yield from _read_values(connection.execute("SELECT term FROM temp.scanned_words"))
    connection.execute("DROP TABLE temp.scanned_words")


def _read_values(cursor: Any) -> Iterator[bytes]:
    while rows := cursor.fetchmany(_BATCH_ROWS):
        yield b"\0".join(value for row in rows for value in row if isinstance(value, bytes))
