"""The library of views: documented whole, de-identified, and with rows on real data."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ehr_etl.gold.dictionary import TABLE, list_entries, write_dictionary
from ehr_etl.gold.library import list_library_names, list_view_names, load_library_view
from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.lake import Lake
from ehr_etl.sql_on_fhir import compile_parts, parse_view
from ehr_fhir.errors import Unprocessable
from tests.unit.etl.test_gold_deid import dropped_elements

ENTRIES = list_entries()
# Enough for each kind of record to be there.
LINES = 1500


def test_there_are_views_of_every_everyday_kind() -> None:
    names = {*list_library_names(), *list_view_names()}

    assert len(names) >= 15
    assert not {*list_library_names()} & {*list_view_names()}


@pytest.mark.parametrize("name", list_library_names())
def test_every_column_has_a_type_a_meaning_and_a_source(name: str) -> None:
    entries = [entry for entry in ENTRIES if entry.view == name]

    assert [entry.column for entry in entries] == compile_parts(load_library_view(name))[
        0
    ].column_names
    assert all(entry.type and entry.meaning and entry.path for entry in entries)
    # A measured number always says its unit.
    assert all(entry.unit for entry in entries if entry.type == "decimal")


@pytest.mark.parametrize("name", list_library_names())
def test_a_view_reads_only_what_deidentification_lets_through(name: str) -> None:
    assert load_library_view(name).name == name
    parts = compile_parts(load_library_view(name))
    assert [path for part in parts for path in dropped_elements(part)] == []


def test_every_view_has_rows_of_real_records(shared_data: Path) -> None:
    folder = shared_data / "synthea-r4-bulk-47"
    for name in list_library_names():
        view = load_library_view(name)
        records = [(kind, line) for kind in view.resources for line in _lines(folder, kind)]

        columns, rows = run_records_on_duckdb(view, records)

        assert rows, name
        assert columns == compile_parts(view)[0].column_names


def _lines(folder: Path, resource: str) -> Iterator[str]:
    for file in sorted(folder.glob(f"{resource}.*")):
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number == LINES:
                    break
                yield line


def test_the_dictionary_is_a_table_too(tmp_path: Path) -> None:
    lake = Lake(tmp_path)

    assert write_dictionary(lake) == len(ENTRIES)
    rows = DeltaTable(str(lake.table_path(TABLE))).to_pyarrow_table().to_pylist()
    [systolic] = [row for row in rows if row["column"] == "systolic"]
    assert (systolic["view"], systolic["unit"]) == ("vital_signs", "mm[Hg]")
    assert (systolic["meaning_zh_hant"], systolic["meaning_zh_hans"]) == ("收縮壓", "收缩压")


def test_every_meaning_is_there_in_both_scripts() -> None:
    untold = [
        (entry.view, entry.column)
        for entry in ENTRIES
        if not (entry.meaning and entry.meaning_zh_hant and entry.meaning_zh_hans)
    ]
    assert untold == []


def test_the_timeline_has_a_row_of_every_type_of_record(shared_data: Path) -> None:
    view = load_library_view("patient_timeline")
    folder = shared_data / "synthea-r4-bulk-47"
    records = [(kind, line) for kind in view.resources for line in _lines(folder, kind)]

    _, rows = run_records_on_duckdb(view, records)

    assert {row["type"] for row in rows} == set(view.resources)
    assert all(row["patient_id"] and row["id"] for row in rows)
    # What the view of one type shows of a record, the timeline shows too.
    diagnosis = next(row for row in rows if row["type"] == "Condition")
    assert diagnosis["date"] and diagnosis["code"]


def test_views_of_views_are_of_one_shape_and_of_each_type_once() -> None:
    def part(resource: str, path: str) -> dict[str, object]:
        column = {"name": "id", "path": path, "type": "string"}
        return {"resource": resource, "select": [{"column": [column]}]}

    def whole(*parts: dict[str, object]) -> dict[str, object]:
        return {"name": "all_of_them", "views": list(parts)}

    view = parse_view(whole(part("Patient", "id"), part("Encounter", "id")))
    assert len(compile_parts(view)) == 2
    records = [("Patient", '{"resourceType": "Patient", "id": "p"}'),
               ("Encounter", '{"resourceType": "Encounter", "id": "e"}')]  # fmt: skip
    assert run_records_on_duckdb(view, records)[1] == [{"id": "p"}, {"id": "e"}]

    with pytest.raises(Unprocessable, match="two views of one resource type"):
        parse_view(whole(part("Patient", "id"), part("Patient", "id")))
    other = part("Encounter", "id")
    other["select"] = [{"column": [{"name": "key", "path": "id"}]}]
    with pytest.raises(Unprocessable, match="different columns"):
        compile_parts(parse_view(whole(part("Patient", "id"), other)))
    with pytest.raises(Unprocessable, match="view of views itself"):
        parse_view(whole(whole(part("Patient", "id"))))
