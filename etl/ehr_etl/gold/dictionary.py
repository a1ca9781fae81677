"""The data dictionary: every column of every view, with type, unit, source path and meaning.

It is made from the ViewDefinitions themselves: a column's `description`, and its tag `unit`. What
the bundled views' columns mean in Chinese is in `column_meanings.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import pyarrow as pa

from ehr_etl.gold.delta_views import overwrite_table
from ehr_etl.gold.library import iterate_definitions
from ehr_etl.lake import Lake
from ehr_etl.sql_on_fhir import compile_view, parse_view

TABLE = "gold/data_dictionary"
Definition = Mapping[str, Any]  # Any: a ViewDefinition as parsed JSON


@dataclass(frozen=True)
class DictionaryEntry:
    """One column of a view."""

    view: str
    resource: str
    position: int
    column: str
    type: str
    unit: str | None
    path: str
    meaning: str
    # Empty where nobody has translated it: a view of somebody's own.
    meaning_zh_hant: str = ""
    meaning_zh_hans: str = ""


def list_entries(definitions: Sequence[Definition] | None = None) -> list[DictionaryEntry]:
    """Return the dictionary of the given definitions, or of all the lake's own and the library's.

    >>> list_entries()[0].view
    'allergy_intolerance'
    """
    chosen = sorted(iterate_definitions(), key=_name) if definitions is None else definitions
    return [entry for definition in chosen for entry in _entries(definition)]


def write_dictionary(lake: Lake) -> int:
    """Write the dictionary as a table of the lake; return its number of rows."""
    entries = list_entries()
    overwrite_table(lake, TABLE, pa.Table.from_pylist([asdict(entry) for entry in entries]))
    return len(entries)


def _entries(definition: Definition) -> Iterator[DictionaryEntry]:
    if "views" in definition:
        yield from _entries_of_views(definition)
        return
    compiled = compile_view(parse_view(definition))
    columns = {
        column["name"]: column for select in definition["select"] for column in _columns(select)
    }
    for position, output in enumerate(compiled.columns):
        column = columns[output.name]
        meaning = str(column.get("description", ""))
        translated = _read_translations().get(meaning, {})
        yield DictionaryEntry(
            view=str(definition["name"]),
            resource=compiled.resource,
            position=position,
            column=output.name,
            type=output.fhir_type,
            unit=_unit(column),
            path=str(column["path"]),
            meaning=meaning,
            meaning_zh_hant=translated.get("zh-Hant", ""),
            meaning_zh_hans=translated.get("zh-Hans", ""),
        )


def _entries_of_views(definition: Definition) -> Iterator[DictionaryEntry]:
    """Yield the columns of a view of views, each with the path of every type."""
    parts = [tuple(_entries({**part, "name": definition["name"]})) for part in definition["views"]]
    for same in zip(*parts, strict=True):
        yield replace(
            same[0],
            resource=", ".join(entry.resource for entry in same),
            path="; ".join(f"{entry.resource}: {entry.path}" for entry in same),
        )


@cache
def _read_translations() -> Mapping[str, Mapping[str, str]]:
    """Return what the English meanings are in Chinese, by script."""
    text = files("ehr_etl.gold").joinpath("column_meanings.toml").read_text("utf-8")
    return {each["en"]: each for each in tomllib.loads(text)["meaning"]}


def _columns(select: Definition) -> Iterator[Definition]:
    focus = select.get("forEach") or select.get("forEachOrNull")
    for column in select.get("column", []):
        is_plain = focus is None or column["path"].startswith("%")
        yield column if is_plain else {**column, "path": f"{focus}.{column['path']}"}
    for inner in (*select.get("select", []), *select.get("unionAll", [])):
        yield from _columns(inner)


def _unit(column: Definition) -> str | None:
    units = [tag["value"] for tag in column.get("tag", []) if tag["name"] == "unit"]
    return units[0] if units else None


def _name(definition: Definition) -> str:
    return str(definition["name"])
