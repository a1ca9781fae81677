"""Contents of files as a scan has to see them: pages decompressed, dictionaries, rows, raw bytes.

The raw bytes of every file are part of its contents, so headers, footers, statistics and free space
are looked at as well. What is packed in something else, such as a Parquet file in a zip file, is
unpacked until nothing is packed any more.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

__all__ = ["read_contents", "read_sqlite_rows", "read_stored_contents"]

_PIECE_BYTES = 8 << 20
_BATCH_ROWS = 4096
_HEAD_BYTES = 16
_SQLITE_MAGIC = b"SQLite format 3\0"
_DUCKDB_MAGIC = b"DUCK"
# Where DuckDB's magic begins: after a checksum.
_DUCKDB_OFFSET = 8
_PARQUET_MAGIC = b"PAR1"
_ARROW_MAGIC = b"ARROW1"
_ZIP_MAGIC = b"PK\x03\x04"
# Of Spark's own format: blocks of LZ4, each with a header.
_SPARK_MAGIC = b"LZ4Block"
_SPARK_HEADER_BYTES = 21
# How often something may be packed in something else: a guard against a file that never ends.
_MOST_LAYERS = 8

File = IO[bytes]


def read_contents(path: Path) -> Iterator[bytes]:
    """Yield the raw bytes of a file, and then what they hold once decompressed or read as rows."""
    with path.open("rb") as file:
        yield from _read_file(file, path, 0)


def read_stored_contents(filesystem: Any, path: str) -> Iterator[bytes]:  # Any: pyarrow ships none
    """Yield the same of a file of a pyarrow file system, such as an object of a store."""
    with filesystem.open_input_file(path) as file:
        yield from _read_file(file, None, 0)


def _read_file(file: File, path: Path | None, layers: int) -> Iterator[bytes]:
    """Yield the contents of an open file; `path` is None where it lies in no folder."""
    if layers > _MOST_LAYERS:
        raise ValueError("Packed too often.")
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece
    file.seek(0)
    if head.startswith(_PARQUET_MAGIC):
        yield from _read_parquet(file)
    elif head.startswith(_ARROW_MAGIC):
        yield from _read_arrow(file)
    elif head == _SQLITE_MAGIC:
        with _place_in_folder(file, path) as placed:
            yield from read_sqlite_rows(placed)
    elif head[_DUCKDB_OFFSET:].startswith(_DUCKDB_MAGIC):
        with _place_in_folder(file, path) as placed:
            yield from _read_duckdb(placed)
    elif head.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    yield from _read_packed(member, layers)
    elif head.startswith(_SPARK_MAGIC):
        yield from _read_spark_blocks(file)
    else:
        for magic, unpack in _STREAMS.items():
            if head.startswith(magic):
                with unpack(file) as stream:
                    yield from _read_packed(stream, layers)


def _unpack_with_arrow(codec: str) -> Callable[[File], Any]:
    def unpack(file: File) -> Any:
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec)

    return unpack


# Compressed streams by how they begin.
_STREAMS: Mapping[bytes, Callable[[File], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _unpack_with_arrow("zstd"),
    b"\x04\x22\x4d\x18": _unpack_with_arrow("lz4"),
}


def _read_packed(stream: File, layers: int) -> Iterator[bytes]:
    """Yield the contents of what is unpacked, which may be packed once more."""
    with tempfile.SpooledTemporaryFile(max_size=_PIECE_BYTES) as unpacked:
        shutil.copyfileobj(stream, unpacked, _PIECE_BYTES)
        unpacked.seek(0)
        yield from _read_file(unpacked, None, layers + 1)


@contextmanager
def _place_in_folder(file: File, path: Path | None) -> Iterator[Path]:
    """Give a path to a database, which is opened by one alone; a copy is deleted afterwards."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ehr-scan-") as folder:
        placed = Path(folder) / "database"
        with placed.open("wb") as copy:
            shutil.copyfileobj(file, copy, _PIECE_BYTES)
        yield placed


def _read_parquet(file: File) -> Iterator[bytes]:
    """Yield the values of every column, with whole dictionaries, whether a row uses them or not."""
    schema = pq.read_schema(file)
    texts = [item.name for item in schema if pa.types.is_string(item.type)]
    for dictionaries in ([], texts) if texts else ([],):
        parquet = pq.ParquetFile(file, read_dictionary=dictionaries)
        names = dictionaries or None
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=names):
            yield from _read_batch(batch)


def _read_arrow(file: File) -> Iterator[bytes]:
    reader = pa.ipc.open_file(file)
    for number in range(reader.num_record_batches):
        yield from _read_batch(reader.get_batch(number))


def _read_batch(batch: pa.RecordBatch) -> Iterator[bytes]:
    for column in batch.columns:
        yield from _read_buffers(column)


def _read_buffers(column: pa.Array) -> Iterator[bytes]:
    """Yield the bytes of an array: of texts the texts, of others what they are made of."""
    for buffer in column.buffers():
        if buffer is not None and buffer.size:
            yield buffer.to_pybytes()
    if pa.types.is_dictionary(column.type):
        yield from _read_buffers(column.dictionary)


def _read_spark_blocks(file: File) -> Iterator[bytes]:
    """Yield what Spark spilled: blocks with the magic, a method, two sizes and a checksum."""
    codec = pa.Codec("lz4_raw")
    while header := file.read(_SPARK_HEADER_BYTES):
        if len(header) < _SPARK_HEADER_BYTES or not header.startswith(_SPARK_MAGIC):
            # Cut short by a crash: the raw bytes were looked at.
            return
        packed = int.from_bytes(header[9:13], "little")
        unpacked = int.from_bytes(header[13:17], "little")
        block = file.read(packed)
        if packed == unpacked or len(block) < packed:
            yield block
        else:
            yield codec.decompress(block, decompressed_size=unpacked).to_pybytes()


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
        values = (value for row in rows for value in row)
        yield b"\0".join(
            value if isinstance(value, bytes) else str(value).encode()
            for value in values
            if isinstance(value, bytes | int)
        )


def _read_duckdb(path: Path) -> Iterator[bytes]:
    """Yield the values of all rows of a DuckDB database, which compresses its pages."""
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
        ).fetchall()
        for schema, table in tables:
            rows = connection.sql(f'SELECT * FROM "{schema}"."{table}"')  # noqa: S608
            for batch in rows.to_arrow_reader(_BATCH_ROWS):
                yield from _read_batch(batch)
