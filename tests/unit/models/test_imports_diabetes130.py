"""The real data that come with the platform: Diabetes 130-US hospitals."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehr_models.imports.flat_table import ImportedFrame, build_frame
from ehr_models.imports.mapping import TableMapping
from ehr_models.imports.mapping_file import parse_mapping, read_mapping_text
from ehr_models.imports.source_table import read_source_table
from ehr_models.imports.table_import import find_sample

NAME = "readmission-diabetes130"
# Counted from the published file by hand: discharge to 11, 19, 20 or 21, and to 13 or 14.
DIED, HOSPICE = 1652, 771


@pytest.fixture(scope="module")
def mapping() -> TableMapping:
    return parse_mapping(read_mapping_text(NAME))


@pytest.fixture(scope="module")
def sample() -> Path:
    path = find_sample(NAME)
    assert path is not None
    return path


@pytest.fixture(scope="module")
def imported(
    mapping: TableMapping, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> ImportedFrame:
    # The first rows are enough to show each kind of feature.
    part = tmp_path_factory.mktemp("diabetes130") / "part.parquet"
    pq.write_table(pq.read_table(sample).slice(0, 8000), part)
    return build_frame(
        read_source_table(part, mapping.columns(), mapping.missing).columns, mapping, "returned"
    )


def test_the_sample_is_the_published_table_without_its_numbers_of_people(
    sample: Path, shared_data: Path
) -> None:
    ours = pq.read_table(sample).to_pandas().astype(str)
    archive = zipfile.ZipFile(shared_data / NAME / "dataset_diabetes.zip")
    with archive.open("dataset_diabetes/diabetic_data.csv") as file:
        published = pd.read_csv(file, dtype=str, keep_default_na=False, usecols=list(ours.columns))[
            list(ours.columns)
        ]
    numbers = ["encounter_id", "patient_nbr"]

    pd.testing.assert_frame_equal(ours.drop(columns=numbers), published.drop(columns=numbers))
    # Numbered anew in the order of the rows, and the same rows are the same person's.
    assert ours["encounter_id"].tolist() == [str(place) for place in range(1, len(ours) + 1)]
    people = pd.factorize(published["patient_nbr"])[0] + 1
    assert ours["patient_nbr"].astype(int).tolist() == people.tolist()


def test_the_sample_has_a_population_large_enough_for_a_verdict(sample: Path) -> None:
    columns = ["discharge_disposition_id", "readmitted", "patient_nbr"]
    table = pq.read_table(sample, columns=columns).to_pandas()
    went = table["discharge_disposition_id"]

    assert len(table) == 101_766
    assert went.isin([11, 19, 20, 21]).sum() == DIED
    assert went.isin([13, 14]).sum() == HOSPICE
    # Nobody who died came back.
    assert not (table["readmitted"][went.isin([11, 19, 20, 21])] == "<30").any()
    assert sample.stat().st_size < 1_500_000


def test_each_kind_of_feature_is_there(imported: ImportedFrame) -> None:
    names = {feature.name for feature in imported.frame.features}

    assert {
        "age",
        "emergency",
        "prior_inpatient_12m",
        "disposition_skilled_nursing_facility",
        "diagnosis_chapter_circulatory",
        "diagnosis_charlson_heart_failure",
        "diagnosis_first_chapter_circulatory",
        "hba1c_not_measured",
        "comorbidity",
    } <= names
    # By these the evaluation tells people apart; no model learns from them.
    assert not [name for name in names if name.startswith(("group_", "race", "payer"))]
    assert set(imported.frame.rows["group_sex"].dropna()) == {"Female", "Male"}


def test_who_died_or_left_for_hospice_is_left_out(imported: ImportedFrame) -> None:
    assert all(imported.excluded[name] > 0 for name in ("died", "hospice"))
    assert not [f.name for f in imported.frame.features if "died" in f.name or "hospice" in f.name]


def test_nothing_has_a_date(imported: ImportedFrame) -> None:
    assert imported.frame.rows["ended"].isna().all()
