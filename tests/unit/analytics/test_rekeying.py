"""Two projects share no pseudonym: of the same table each sees other values wherever a key is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ehr_analytics.gold_views import open_gold_views
from ehr_analytics.query_job import QueryJob, SourceView, Withheld
from ehr_analytics.query_worker import run_job
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.gold.delta_views import save_definition
from ehr_etl.lake import Lake
from ehr_fhir.errors import Unprocessable
from tests.lib.research import DATES

PSEUDONYM = "0123456789abcdef" * 2
TABLE = {
    "who": [PSEUDONYM, None],
    "many": [[PSEUDONYM, "x"], []],
    "remark": [f"seen by {PSEUDONYM.upper()}", "quiet"],
    "remarks": [[f"Patient/{PSEUDONYM}", "quiet"], None],
    "zone_id": ["north", "south"],
    "count": [3, None],
}
DEFINITION: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "visits",
    "resource": "Encounter",
    "select": [
        {
            "column": [
                {"name": "who", "path": "subject.getReferenceKey(Patient)"},
                {"name": "many", "path": "participant.individual.reference", "collection": True},
                {"name": "remark", "path": "type.text.first()"},
                {"name": "remarks", "path": "type.text", "collection": True},
                {"name": "zone_id", "path": "class.code"},
                {"name": "count", "path": "participant.count()"},
                {"name": "part", "path": "subject.getReferenceKey(Patient).substring(0, 8)"},
            ]
        }
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one table of a user's view."""
    (tmp_path / "lake" / "gold").mkdir(parents=True)
    table = pa.table({**TABLE, "part": [PSEUDONYM[:8], None], "_patient": [PSEUDONYM, None]})
    write_deltalake(str(tmp_path / "lake" / "gold" / "visits"), table)
    save_definition(Lake(tmp_path / "lake"), DEFINITION)
    return tmp_path


def _read(data: Path, key: str, columns: tuple[str, ...] = tuple(TABLE)) -> list[dict[str, Any]]:
    [view] = open_gold_views(data, {"visits": columns})
    source = SourceView(view.name, str(view.path), 0, view.columns, tuple(view.rekeyed))
    sql = "SELECT * FROM visits"
    job = QueryJob((source,), "", Withheld(), key, DATES, sql, {}, "json", QueryLimits())
    return list(run_job(job)[0].to_pylist())


def test_values_with_a_key_are_hashed_under_the_key_of_the_project(data: Path) -> None:
    ours, theirs = _read(data, "a" * 64), _read(data, "b" * 64)

    for rows in (ours, theirs):
        assert PSEUDONYM not in str(rows).lower()
        assert {row["zone_id"] for row in rows} == {"north", "south"}
        assert sorted(row["count"] or 0 for row in rows) == [0, 3]
        assert "quiet" in str(rows)
    [ours_row], [theirs_row] = (
        [row for row in rows if row["zone_id"] == "north"] for rows in (ours, theirs)
    )
    for column in ("who", "many", "remark", "remarks"):
        assert ours_row[column] != theirs_row[column]
    # Keys of one project join, and what is not known joins with nothing.
    assert ours_row["who"] != ours_row["remark"]
    assert [row["who"] for row in ours if row["zone_id"] == "south"] == [None]


def test_a_column_that_is_computed_from_a_key_is_refused(data: Path) -> None:
    with pytest.raises(Unprocessable, match="part"):
        _read(data, "a" * 64, ("zone_id", "part"))


def test_a_table_without_a_definition_goes_by_names_and_values(data: Path) -> None:
    (data / "lake" / "views" / "visits.json").unlink()

    [row] = [row for row in _read(data, "a" * 64) if row["count"] == 3]

    assert PSEUDONYM not in str(row).lower()
    assert len(row["who"]) == len(row["zone_id"]) == 64


def test_a_column_that_the_definition_does_not_have_may_be_anything(data: Path) -> None:
    file = data / "lake" / "views" / "visits.json"
    select = [{"column": [{"name": "who", "path": "status"}]}]
    file.write_bytes(orjson.dumps({**DEFINITION, "select": select}))

    [row] = [row for row in _read(data, "a" * 64, ("who", "part")) if row["who"]]

    assert {len(row["who"]), len(row["part"])} == {64}


# What a key's column may be called, and how a path may reach a key: each with each.
NAMES = (
    "patient_key", "id", "person", "subject", "x", "who_concept_id", "gender", "key", "zone",
    "patient_reference", "count", "nhs",
)  # fmt: skip
KEY_PATHS = (
    "getResourceKey()", "id", "subject.getReferenceKey(Patient)", "subject.getReferenceKey()",
    "subject.reference", "participant.individual.reference", "identifier.value",
    "identifier.first().value", "participant.individual.where(display = 'x').reference",
    "subject.resolve().id",
)  # fmt: skip
# As de-identification leaves them, and such as no pattern knows: an identifier may be anything.
KEYS = (PSEUDONYM, f"Patient/{PSEUDONYM}", "MRN-17", "17", "x")


@pytest.mark.parametrize("path", KEY_PATHS)
def test_no_two_projects_read_one_key_alike_whatever_its_column_is_called(
    tmp_path: Path, path: str
) -> None:
    """A name decides nothing where a definition tells what a column is."""
    (tmp_path / "lake" / "gold").mkdir(parents=True)
    plain = {name: list(KEYS) for name in NAMES}
    lists = {f"{name}_list": [[key, key] for key in KEYS] for name in NAMES}
    columns = [
        {"name": name, "path": path, "collection": name in lists} for name in (*plain, *lists)
    ]
    definition = {**DEFINITION, "select": [{"column": columns}]}
    rows = {**plain, **lists, "_patient": list(KEYS)}
    write_deltalake(str(tmp_path / "lake" / "gold" / "visits"), pa.table(rows))
    save_definition(Lake(tmp_path / "lake"), definition)

    ours, theirs = (_read(tmp_path, key * 64, (*plain, *lists)) for key in "ab")

    for name in (*plain, *lists):
        read = [set(_flatten(row[name] for row in rows)) for rows in (ours, theirs)]
        assert len(read[0]) == len(read[1]) == len(KEYS), name
        assert not (read[0] & read[1] or (read[0] | read[1]) & {*KEYS}), name
    # Within a project they join.
    assert {row["patient_key"] for row in ours} == {row["zone"] for row in ours}


@pytest.mark.parametrize("name", NAMES)
def test_without_a_definition_a_pseudonym_is_nobodys_in_two_projects(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "lake" / "gold").mkdir(parents=True)
    texts = [PSEUDONYM, PSEUDONYM.upper(), f"Patient/{PSEUDONYM}", f"of {PSEUDONYM}."]
    rows = {name: texts, f"{name}_list": [[text] for text in texts], "_patient": texts}
    table = pa.table(rows)
    write_deltalake(str(tmp_path / "lake" / "gold" / "visits"), table)

    ours, theirs = (_read(tmp_path, key * 64, (name, f"{name}_list")) for key in "ab")

    for column in (name, f"{name}_list"):
        read = [set(_flatten(row[column] for row in rows)) for rows in (ours, theirs)]
        assert not (read[0] & read[1]) and PSEUDONYM not in str(read).lower()


def _flatten(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else [value]
