"""Tables as bytes in the formats that SQL on FHIR's operations answer in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from ehr_fhir.errors import NotAcceptable


@dataclass(frozen=True)
class TableFormat:
    """A format: its media type, and what writes a table in it."""

    media_type: str
    encode: Callable[[pa.Table], bytes]


def encode_table(table: pa.Table, name: str) -> tuple[bytes, str]:
    """Return a table in a format, and its media type.

    >>> encode_table(pa.table({"a": [1, None], "b": ["x", "y"]}), "csv")
    (b'a,b\\r\\n1,x\\r\\n,y\\r\\n', 'text/csv; charset=utf-8')
    """
    chosen = require_format(name)
    return chosen.encode(table), chosen.media_type


def require_format(name: str) -> TableFormat:
    """Return the format of a name; NotAcceptable when there is none."""
    if name not in FORMATS:
        raise NotAcceptable(f"The format is one of {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]


def _to_csv(table: pa.Table) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow(_cell(value) for value in row.values())
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return orjson.dumps(value, default=str).decode() if isinstance(value, list) else value


def _to_ndjson(table: pa.Table) -> bytes:
    return b"".join(_row(row) + b"\n" for row in table.to_pylist())


def _to_json(table: pa.Table) -> bytes:
    return b"[" + b",".join(_row(row) for row in table.to_pylist()) + b"]"


def _row(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row, default=_encode_decimal)


def _encode_decimal(value: Decimal) -> orjson.Fragment:
    # A number in JSON with all its digits, which no float holds.
    return orjson.Fragment(f"{value.normalize():f}".encode())


def _to_parquet(table: pa.Table) -> bytes:
    # Only here: pyarrow's Parquet module is slow to import.
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


FORMATS: Mapping[str, TableFormat] = {
    "csv": TableFormat("text/csv; charset=utf-8", _to_csv),
    "json": TableFormat("application/json", _to_json),
    "ndjson": TableFormat("application/x-ndjson", _to_ndjson),
    "parquet": TableFormat("application/vnd.apache.parquet", _to_parquet),
}
