"""Scratch files of a rebuild: rows sent to the part of a table that they belong to.

Each writer writes one Arrow file for each part it has rows of; whoever makes that part reads all
files for it. They lie beside the tables, so that every machine of a cluster reaches them, and are
gone when the rebuild ends. What a crash leaves is deleted before the next one.
"""

from __future__ import annotations

import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.ipc

from ehr_etl.lake import Lake
from ehr_etl.tables.files import split_by_number

__all__ = ["clear_scratch", "read_part", "send_to_parts"]

_FOLDER = "scratch"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def send_to_parts(lake: Lake, kind: str, rows: pa.Table, parts: pa.Array) -> None:
    """Write rows to the scratch files of their parts; `parts` has the part of each row."""
    order = pc.sort_indices(parts)
    for number, part in split_by_number(rows.take(order), parts.take(order).to_pylist()):
        _write(lake, f"{kind}/{number}", part)


def read_part(lake: Lake, kind: str, number: int, schema: pa.Schema) -> pa.Table:
    """Return all rows that were sent to a part."""
    filesystem, root = lake.open_storage()
    selector = pa.fs.FileSelector(f"{root}{_FOLDER}/{kind}/{number}", allow_not_found=True)
    tables = [schema.empty_table()]
    for info in sorted(filesystem.get_file_info(selector), key=lambda info: info.path):
        with filesystem.open_input_file(info.path) as file:
            tables.append(pa.ipc.open_file(pa.py_buffer(file.read())).read_all())
    return pa.concat_tables(tables)


def clear_scratch(lake: Lake) -> None:
    """Delete every scratch file."""
    filesystem, root = lake.open_storage()
    folder = f"{root}{_FOLDER}"
    if filesystem.get_file_info(pa.fs.FileSelector(folder, allow_not_found=True)):
        filesystem.delete_dir(folder)


def _write(lake: Lake, folder: str, rows: pa.Table) -> None:
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, rows.schema, options=_OPTIONS) as writer:
        writer.write_table(rows)
    lake.write_file(f"{_FOLDER}/{folder}/{uuid.uuid4()}.arrow", out.getvalue())
