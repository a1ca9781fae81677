"""Tables in the formats that SQL on FHIR's operations answer in, as bytes or into a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from ehr_fhir.errors import NotAcceptable

# Chosen: a few megabytes of Python's values.
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class TableFormat:
    """A format: its media type, and what writes a table in it."""

    media_type: str
    write: Callable[[pa.Table, BinaryIO], None]


def encode_table(table: pa.Table, name: str) -> tuple[bytes, str]:
    """Return a table in a format, and its media type.

    >>> encode_table(pa.table({"a": [1, None], "b": ["x", "y"]}), "csv")
    (b'a,b\\r\\n1,x\\r\\n,y\\r\\n', 'text/csv; charset=utf-8')
    """
    sink = io.BytesIO()
    media_type = write_table(table, name, sink)
    return sink.getvalue(), media_type


def write_table(table: pa.Table, name: str, sink: BinaryIO) -> str:
    """Write a table in a format; return its media type."""
    chosen = require_format(name)
    chosen.write(table, sink)
    return chosen.media_type


def require_format(name: str) -> TableFormat:
    """Return the format of a name; NotAcceptable when there is none."""
    if name not in FORMATS:
        raise NotAcceptable(f"The format is one of {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]


def _write_csv(table: pa.Table, sink: BinaryIO) -> None:
    text = io.TextIOWrapper(sink, "utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow(_cell(value) for value in row.values())
    # The sink stays open, for whoever opened it.
    text.detach()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return orjson.dumps(value, default=str).decode() if isinstance(value, list) else value


def _write_ndjson(table: pa.Table, sink: BinaryIO) -> None:
    for row in _rows(table):
        sink.write(_row(row) + b"\n")


def _write_json(table: pa.Table, sink: BinaryIO) -> None:
    for number, row in enumerate(_rows(table)):
        sink.write((b"," if number else b"[") + _row(row))
    sink.write(b"]" if table.num_rows else b"[]")


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    # As values of Python a row takes many times its room: of a large table never all at once.
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _row(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row, default=_encode_decimal)


def _encode_decimal(value: Decimal) -> orjson.Fragment:
    # A number in JSON with all its digits, which no float holds.
    return orjson.Fragment(f"{value.normalize():f}".encode())


def _write_parquet(table: pa.Table, sink: BinaryIO) -> None:
    # Only here: pyarrow's Parquet module is slow to import.
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, pa.PythonFile(sink, "w"))


FORMATS: Mapping[str, TableFormat] = {
    "csv": TableFormat("text/csv; charset=utf-8", _write_csv),
    "json": TableFormat("application/json", _write_json),
    "ndjson": TableFormat("application/x-ndjson", _write_ndjson),
    "parquet": TableFormat("application/vnd.apache.parquet", _write_parquet),
}
