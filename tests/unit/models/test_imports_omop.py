"""Imports of OMOP folders: the views that come out, and the faults that are named."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_models.imports import source_table
from ehr_models.imports.import_store import read_import
from ehr_models.imports.imported_task import apply_import
from ehr_models.imports.omop_folder import read_omop_folder
from ehr_models.imports.omop_import import import_omop
from ehr_models.registry import get_task
from tests.lib import gold

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TASK = get_task("readmission-28d")
Tables = Mapping[str, pd.DataFrame]

SODIUM = 3019550
_GENDERS = {"male": 8507, "female": 8532}
_VISITS = {"IMP": 9201, "EMER": 9203, "AMB": 9202}


def make_tables(views: gold.Views) -> dict[str, pd.DataFrame]:
    """Return CDM tables that say what the views say."""
    people, visits, conditions = (
        views[name] for name in ("patient_demographics", "encounter_flat", "condition_flat")
    )
    concepts = {code: number for number, code in enumerate(sorted(set(conditions["code"])), 2000)}
    return {
        "person": pd.DataFrame(
            {
                "person_id": people["id"],
                "gender_concept_id": people["gender"].map(_GENDERS),
                "year_of_birth": people["birth_year"],
            }
        ),
        "visit_occurrence": pd.DataFrame(
            {
                "visit_occurrence_id": visits["id"],
                "person_id": visits["patient_id"],
                "visit_concept_id": visits["class"].map(_VISITS),
                "visit_start_date": visits["start"].str[:10],
                "visit_end_date": visits["end"].str[:10],
                "care_site_id": visits["organization_id"],
            }
        ),
        "condition_occurrence": pd.DataFrame(
            {
                "condition_occurrence_id": conditions["id"],
                "person_id": conditions["patient_id"],
                "condition_concept_id": conditions["code"].map(concepts),
                "condition_start_date": conditions["onset"].str[:10],
                "condition_end_date": conditions["abatement"].str[:10],
            }
        ),
        "drug_exposure": pd.DataFrame(
            {
                "drug_exposure_id": conditions["id"],
                "person_id": conditions["patient_id"],
                "drug_concept_id": conditions["code"].map(concepts),
                "drug_exposure_start_date": conditions["onset"].str[:10],
            }
        ),
        "measurement": pd.DataFrame(
            {
                "measurement_id": conditions["id"],
                "person_id": conditions["patient_id"],
                "measurement_concept_id": SODIUM,
                "measurement_date": conditions["onset"].str[:10],
                "value_as_number": 130.5,
                "unit_concept_id": 8753,
                "unit_source_value": "mmol/l",
            }
        ),
        "concept": pd.DataFrame(
            {
                "concept_id": [*concepts.values(), SODIUM, 8753],
                "concept_code": [*concepts, "2951-2", "mmol/L"],
                "vocabulary_id": ["codes"] * len(concepts) + ["LOINC", "UCUM"],
            }
        ),
    }


def write(folder: Path, tables: Tables, kind: str) -> Path:
    """Write the tables as files of a kind."""
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        if kind == "csv":
            table.to_csv(folder / f"{name}.csv", index=False)
        else:
            table.to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_omop_folder_gives_the_frame_that_the_same_records_give(
    tmp_path: Path, kind: str
) -> None:
    views = dict(gold.made_up(60))
    # The same codes as medicines, so that another table is read too.
    views["medication_request"] = views["condition_flat"].rename(
        columns={
            "onset": "authored_on",
            "code": "medication_code",
            "code_system": "medication_system",
        }
    )
    views["laboratory"] = views["condition_flat"].assign(
        effective=views["condition_flat"]["onset"],
        code_code="2951-2",
        code_system="LOINC",
        value_number=130.5,
        value_unit="mmol/L",
    )
    # Dates alone, as the tables have them.
    days = {
        name: frame.assign(
            **{
                c: frame[c].str[:10]
                for c in ("start", "end", "onset", "authored_on", "effective")
                if c in frame
            }
        )
        for name, frame in views.items()
    }
    (tmp_path / "data").mkdir()
    folder = write(tmp_path / "cdm", make_tables(views), kind)

    import_omop(folder, TASK, "cdm", tmp_path / "data", NOW)
    imported = apply_import(TASK, read_import(tmp_path / "data", "cdm"))

    expected = TASK.build_frame(days).rows
    found = imported.task.build_frame(imported.views).rows
    ignored = ["group_district"]  # OMOP's location is not read
    assert len(found) > 100
    assert [name for name in map(str, found) if name.startswith("medicine")]
    pd.testing.assert_frame_equal(found.drop(columns=ignored), expected.drop(columns=ignored))
    assert imported.task.name == "readmission-28d-cdm"


Change = Callable[[dict[str, pd.DataFrame]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("person"), "has no table person"),
        (lambda t: t["person"].pop("year_of_birth"), "person has no column year_of_birth"),
        (
            lambda t: t["visit_occurrence"].__setitem__("visit_end_date", "Zweifel"),
            "visit_occurrence: visit_end_date is not a date",
        ),
        (
            lambda t: t["visit_occurrence"].__setitem__("visit_end_date", "1999-01-01"),
            "visit_end_date is before visit_start_date",
        ),
        (
            lambda t: t["visit_occurrence"].__setitem__("person_id", "Zweifel"),
            "visit_occurrence: person_id is in no row of person",
        ),
        (
            lambda t: t["visit_occurrence"].__setitem__("visit_occurrence_id", "Zweifel"),
            "the same visit_occurrence_id twice",
        ),
        (lambda t: t["person"].__setitem__("person_id", None), "person_id is empty"),
        (lambda t: t["person"].__setitem__("year_of_birth", 19), "year_of_birth is no year"),
    ],
)
def test_a_fault_names_table_and_column_and_writes_nothing(
    tmp_path: Path, change: Change, words: str
) -> None:
    tables = make_tables(gold.made_up(5))
    change(tables)
    (tmp_path / "data").mkdir()

    with pytest.raises(Unprocessable, match=words) as raised:
        import_omop(write(tmp_path / "cdm", tables, "csv"), TASK, "cdm", tmp_path / "data", NOW)

    assert "Zweifel" not in str(raised.value)
    assert not (tmp_path / "data" / "models").exists()


def test_what_no_task_knows_is_counted(tmp_path: Path) -> None:
    tables = make_tables(gold.made_up(5))
    visits, conditions = tables["visit_occurrence"], tables["condition_occurrence"]
    visits.loc[:1, "visit_concept_id"] = 32036
    conditions.loc[:2, "condition_concept_id"] = 0

    read = read_omop_folder(write(tmp_path / "cdm", tables, "csv"))

    assert read.not_read == {
        "visits whose kind the tasks do not know": 2,
        "conditions without a standard concept": 3,
    }
    assert len(read.views["condition_flat"]) == len(conditions) - 3


def test_without_the_concept_table_a_condition_is_the_number_of_its_concept(
    tmp_path: Path,
) -> None:
    tables = make_tables(gold.made_up(5))
    del tables["concept"]

    read = read_omop_folder(write(tmp_path / "cdm", tables, "csv"))

    assert set(read.views["condition_flat"]["code_system"]) == {"OMOP"}
    assert all(code.isdigit() for code in read.views["condition_flat"]["code"])


def test_a_packed_table_of_a_folder_is_read_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "cdm", make_tables(gold.made_up(5)), "csv")
    person = folder / "person.csv"
    content = person.read_bytes()
    person.unlink()
    (folder / "person.csv.gz").write_bytes(gzip.compress(content))
    assert len(read_omop_folder(folder).views["patient_demographics"]) == 5

    monkeypatch.setattr(source_table, "MOST_UNPACKED_BYTES", len(content) - 1)
    with pytest.raises(Unprocessable, match="when it is unpacked"):
        read_omop_folder(folder)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_omop_folder(tmp_path / "none")
