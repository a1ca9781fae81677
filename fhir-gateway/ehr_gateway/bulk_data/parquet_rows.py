"""Lines of an export as Apache Parquet, a row group for each chunk: memory is that of one chunk.

A column for each element of the type in R4, by its JSON name: booleans and integers as such, other
primitives as text, what repeats or has parts as JSON text, digit for digit. What stands beside
primitives (`_birthDate`) is in one column more, so nothing of a resource is left out.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ehr_fhir.definitions import JsonElement, json_elements
from ehr_fhir.json_text import parse, serialize

__all__ = ["PRIMITIVE_EXTENSIONS", "ParquetEncoder"]

PRIMITIVE_EXTENSIONS = "primitive_extensions"
_FIRST = ("id", "meta")
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})


class ParquetEncoder:
    """Encodes the chunks of one file, all of one type."""

    def __init__(self, resource_type: str) -> None:
        # Only here: they are slow to import, and few processes ever write such a file.
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._elements = _order_columns(json_elements(resource_type))
        fields = [pa.field(key, _column_type(pa, one)) for key, one in self._elements.items()]
        fields.append(pa.field(PRIMITIVE_EXTENSIONS, pa.string()))
        metadata = {"resourceType": resource_type, "fhirVersion": "4.0.1"}
        self._schema = pa.schema(fields, metadata=metadata)
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        # Any: pyarrow has no types.
        self._make_batch: Any = pa.RecordBatch.from_pylist

    def encode(self, lines: Sequence[bytes], *, is_last: bool) -> bytes:
        """Return the bytes of the next lines; with the last ones, the end of the file."""
        if lines:
            rows = [self._read_row(line) for line in lines]
            self._writer.write_batch(self._make_batch(rows, schema=self._schema))
        if is_last:
            self._writer.close()
        content = self._sink.getvalue()
        if not is_last:
            # The writer knows by itself where in the file it is.
            self._sink.seek(0)
            self._sink.truncate()
        return content

    def _read_row(self, line: bytes) -> dict[str, Any]:
        resource = parse(line)
        row = {
            key: _to_cell(value, self._elements[key])
            for key, value in resource.items()
            if key in self._elements
        }
        beside = {key: value for key, value in resource.items() if key.startswith("_")}
        if beside:
            row[PRIMITIVE_EXTENSIONS] = serialize(beside).decode()
        return row


def _order_columns(elements: Mapping[str, JsonElement]) -> dict[str, JsonElement]:
    """Return the elements with those first by which a reader finds a resource."""
    first = {key: elements[key] for key in _FIRST if key in elements}
    return first | dict(elements)


# Any: pyarrow has no types.
def _column_type(pa: Any, element: JsonElement) -> Any:
    if element.repeats or element.type not in _INTEGERS | {"boolean"}:
        return pa.string()
    return pa.bool_() if element.type == "boolean" else pa.int32()


def _to_cell(value: Any, element: JsonElement) -> Any:
    """Return a value as its column has it."""
    is_plain = isinstance(value, str | bool) or element.type in _INTEGERS
    return value if is_plain and not element.repeats else serialize(value).decode()
