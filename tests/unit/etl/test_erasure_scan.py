"""The scan of an erasure sees what files hold, however they are packed, and says what it could not.

Each way of packing is one row: a new kind of file in a data folder gets one.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from ehr_etl.erasure.byte_search import ByteSearch
from ehr_etl.erasure.file_contents import read_contents, read_stored_contents
from ehr_etl.erasure.folder_scan import FolderScan, scan_folder

MARK, PERSON = "Zq0050markqz", 0x1234414243445566
ROWS = pa.table(
    {
        "text": [f"Zq{number:04}markqz" for number in range(100)],
        "person_id": [PERSON + number for number in range(100)],
    }
)
NOTHING = {MARK, str(PERSON)}


def write_parquet(path: Path) -> None:
    pq.write_table(ROWS, path, compression="zstd")


def write_arrow(path: Path) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), ROWS.schema, options=options) as writer:
        writer.write_table(ROWS)


def write_duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.register("given", ROWS)
        connection.execute("CREATE TABLE kept AS SELECT * FROM given")


def write_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (text TEXT, person INTEGER)")
        rows = [tuple(row.values()) for row in ROWS.to_pylist()]
        connection.executemany("INSERT INTO kept VALUES (?, ?)", rows)


def write_csv(path: Path) -> None:
    path.write_text(f"person_id,text\n{PERSON},{MARK}\n", "utf-8")


def write_spark_blocks(path: Path) -> None:
    content = b"x" * 999 + MARK.encode() + PERSON.to_bytes(8, "big") + b"y" * 999
    packed = pa.Codec("lz4_raw").compress(content).to_pybytes()
    sizes = len(packed).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    path.write_bytes(b"LZ4Block\x26" + sizes + bytes(4) + packed + b"LZ4Block\x16" + bytes(12))


def pack_zip(content: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", content)
    return bytes(out.getvalue())


def pack_by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        out = pa.BufferOutputStream()
        with pa.CompressedOutputStream(out, codec) as packed:
            packed.write(content)
        return bytes(out.getvalue())

    return pack


WRITERS = [write_parquet, write_arrow, write_duckdb, write_sqlite, write_csv, write_spark_blocks]
PACKERS = [
    *(gzip.compress, bz2.compress, lzma.compress, pack_zip),
    *(pack_by_arrow("zstd"), pack_by_arrow("lz4")),
]


def find(path: Path) -> list[set[str]]:
    """Return what is found in a file of a folder, and in the same as an object of a store."""
    local = pyarrow.fs.LocalFileSystem()
    contents = (read_contents(path), read_stored_contents(local, str(path)))
    return [ByteSearch({MARK}, (), {PERSON}).search_stream(content)[0] for content in contents]


@pytest.mark.parametrize("write", WRITERS)
def test_what_a_file_holds_is_found(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "file")

    assert find(tmp_path / "file") == [NOTHING, NOTHING]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("write", WRITERS)
def test_what_is_packed_once_and_twice_is_found(
    write: Callable[[Path], None], pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    write(tmp_path / "file")
    once = pack((tmp_path / "file").read_bytes())
    (tmp_path / "once").write_bytes(once)
    (tmp_path / "twice").write_bytes(gzip.compress(once))

    assert find(tmp_path / "once") == [NOTHING, NOTHING]
    assert find(tmp_path / "twice") == [NOTHING, NOTHING]


def scan(folder: Path) -> FolderScan:
    found = FolderScan()
    scan_folder(found, folder, ByteSearch({MARK}, {"pat-17"}, {PERSON}))
    return found


def test_names_of_files_and_of_empty_folders_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "exports" / "pat-17").mkdir(parents=True)
    (tmp_path / f"{MARK}.csv").touch()

    assert set(scan(tmp_path).hits) == {"exports/pat-17", f"{MARK}.csv"}


def test_a_folder_elsewhere_is_looked_at_and_a_circle_ends(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    write_csv(elsewhere / "rows.csv")
    (data / "lake").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(data)

    assert "lake/rows.csv" in scan(data).hits


@pytest.mark.parametrize("write", [write_parquet, write_arrow, write_duckdb, write_sqlite])
def test_what_cannot_be_read_is_no_file_without_a_finding(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[:64] + b"\0" * 400)

    assert len(scan(tmp_path).unreadable) == 1


def test_a_number_is_found_within_others_and_a_longer_one_is_not() -> None:
    number = 1234567890123456789
    assert ByteSearch((), (), {number}).search(b'{"person":1234567890123456789}')
    assert not ByteSearch((), (), {number}).search(b'{"person":12345678901234567890}')
