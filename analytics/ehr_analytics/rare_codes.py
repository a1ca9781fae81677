"""Rare codes as a project reads them: a broader code in their place, or nothing.

Who has a code is counted at each read in the de-identified records as they are now, without those
that are withheld. So nothing is stored: a code is shown from the update of the lake by which enough
people have it, and no more from the one by which they do not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.omop.hierarchy import read_broader_codes
from ehr_privacy.deid import Coding, generalize_rare_codes, load_rules

__all__ = ["RareCodes", "find_rare_codes"]

_SNOMED = "http://snomed.info/sct"
# A coding as the de-identifier writes it (`ehr_privacy.deid.values`); read alike by RE2. No system
# or code that it knows has a quotation mark or a backslash in it.
_CODING = r'"system":"([^"]+)","code":"([^"]+)"'


@dataclass(frozen=True)
class RareCodes:
    """What is shown in the place of each rare code; None where nothing is."""

    shown: Mapping[Coding, str | None] = field(default_factory=dict)

    def show_record(self, resource: str) -> str:
        """Return a record of deid, as JSON text, without rare codes; a Coding keeps its system."""

        def write(match: re.Match[str]) -> str:
            coding = match[1], match[2]
            if coding not in self.shown:
                return match[0]
            code = self.shown[coding]
            return f'"system":"{match[1]}"' + ("" if code is None else f',"code":"{code}"')

        return re.sub(_CODING, write, resource) if self.shown else resource

    def show_rows(self, rows: Any, columns: Collection[str]) -> Any:  # Any: Arrow streams
        """Return rows of a gold table with the codes of some columns, texts or lists, as shown."""
        if not self.shown:
            return rows
        reader = pa.RecordBatchReader.from_stream(rows)
        types = {name: _text_type(reader.schema.field(name).type) for name in columns}
        texts = {name: kind for name, kind in types.items() if kind is not None}
        schema = pa.schema(
            [(field.name, texts.get(field.name, field.type)) for field in reader.schema]
        )

        def show() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                arrays = [
                    self._show_texts(batch.column(name), texts[name])
                    if name in texts
                    else batch.column(name)
                    for name in schema.names
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, show())

    def _show_texts(self, values: pa.Array, kind: pa.DataType) -> pa.Array:
        if pa.types.is_list(kind):
            shown = [
                items and [self._texts.get(item, item) for item in items]
                for items in values.to_pylist()
            ]
            return pa.array(shown, kind)
        values = values.cast(kind)
        places = pc.index_in(values, pa.array(list(self._texts), kind))
        shown = pc.take(pa.array(list(self._texts.values()), kind), places)
        return pc.if_else(pc.is_valid(places), shown, values)

    @cached_property
    def _texts(self) -> Mapping[str, str | None]:
        """Return what is shown of a code without its system, as a column of a gold table holds it.

        One that is rare in any system is hidden; of two broader codes for it none is chosen.
        """
        texts: dict[str, str | None] = {}
        for (_, code), shown in self.shown.items():
            texts[code] = shown if texts.get(code, shown) == shown else None
        return texts


def find_rare_codes(
    connection: duckdb.DuckDBPyConnection,
    records: str,
    withheld: Collection[str],
    threshold: int,
    vocabulary: Path | None = None,
) -> RareCodes:
    """Count who has each code in a table of deid, and return what is shown of the rare ones.

    `withheld` are keys of records that do not count. `vocabulary` is the lake's database of a
    vocabulary that the user loaded, by which rare codes of SNOMED CT go up its hierarchy. A record
    of nobody's, or of several patients, counts for no person: a code that is in these alone is
    rare.
    """
    found = connection.execute(
        "WITH coded AS (SELECT DISTINCT patient,"  # noqa: S608 - a name of ours
        f" unnest(regexp_extract_all(resource, '{_CODING}')) AS coding FROM {records}"
        " WHERE id NOT IN (SELECT unnest($withheld)))"
        " SELECT coding, list_distinct(min(patient, $threshold)) AS persons FROM coded"
        " GROUP BY coding HAVING count(patient) < $threshold",
        {"withheld": list(withheld) or [""], "threshold": threshold},
    ).fetchall()
    rules, rare = load_rules(), dict[Coding, Collection[str]]()
    for text, persons in found:
        match = re.fullmatch(_CODING, text)
        if match is not None and rules.is_counted(match[1]):
            rare[match[1], match[2]] = persons or ()
    hierarchy: dict[Coding, str] = {}
    if vocabulary is not None:
        codes = [code for system, code in rare if system == _SNOMED]
        found_above = read_broader_codes(vocabulary, codes)
        hierarchy = {(_SNOMED, code): broader for code, broader in found_above.items()}
    return RareCodes(generalize_rare_codes(rare, threshold, hierarchy))


def _text_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which a column's texts are shown; None of a column without texts."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = _text_type(kind.value_type)
        return None if item is None else pa.list_(item)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.string() if any(is_text(kind) for is_text in texts) else None
