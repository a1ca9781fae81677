"""The user's own vocabulary: what it maps, what it does not, what loading it again does."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from ehr_etl.lake import Lake
from ehr_etl.omop.athena import load_vocabulary
from ehr_etl.omop.fhir_values import Coding
from ehr_etl.omop.state import load_state, open_vocabulary
from ehr_etl.omop.vocabulary import UnmappedReason, Vocabulary, load_crosswalk
from ehr_fhir.errors import Invalid, NotFound
from tests.lib.omop_lake import (
    ICD10,
    LOINC,
    RXNORM,
    SNOMED,
    OmopLake,
    coding,
    hospital,
    sorted_rows,
    write_athena_folder,
)

CONDITION = ("Condition", "c1")


@pytest.fixture
def bench(tmp_path: Path) -> OmopLake:
    made = OmopLake(Lake(tmp_path / "lake"))
    made.put(*hospital())
    made.rebuild()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_athena_folder(tmp_path / "athena")


def open_loaded(bench: OmopLake, folder: Path) -> Vocabulary:
    load_vocabulary(bench.lake, folder)
    state = load_state(bench.lake)
    assert state is not None
    return open_vocabulary(bench.lake, state)


def remap(bench: OmopLake, folder: Path) -> set[str]:
    load_vocabulary(bench.lake, folder)
    writer = bench.writer()
    writer.remap()
    return writer.written


def test_standard_concepts_come_from_the_vocabulary_and_others_are_source_concepts(
    bench: OmopLake, folder: Path
) -> None:
    vocabulary = open_loaded(bench, folder)

    standard = vocabulary.find_code(SNOMED, "900001007")
    classified = vocabulary.find_code(ICD10, "Z00")

    assert [one.concept_id for one in standard.concepts] == [1001]
    assert standard.source_concept_id == 1001
    assert (classified.source_concept_id, classified.concepts[0].concept_id) == (1101, 1001)


def test_a_concept_that_is_invalid_or_not_standard_is_never_used(
    bench: OmopLake, folder: Path
) -> None:
    vocabulary = open_loaded(bench, folder)

    assert vocabulary.find_code(SNOMED, "900004004").concepts == ()
    assert vocabulary.find_code(SNOMED, "900004004").reason == UnmappedReason.NO_STANDARD
    assert vocabulary.find_code(SNOMED, "123").reason == UnmappedReason.UNKNOWN_CODE


def test_a_blank_in_a_file_is_the_same_as_nothing(bench: OmopLake, folder: Path) -> None:
    file = folder / "CONCEPT.csv"
    blanks = [f"{line} " if line.endswith("\t") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(blanks) + "\n")

    assert open_loaded(bench, folder).find_code(SNOMED, "900001007").concepts


def test_the_domain_of_the_concept_says_the_table(bench: OmopLake, folder: Path) -> None:
    bench.put({**bench.resources[CONDITION], "code": coding(SNOMED, "900003005")})
    bench.follow(CONDITION)
    assert any(row["condition_source_value"] == "900003005"
               for row in bench.rows("condition_occurrence"))  # fmt: skip

    remap(bench, folder)

    (row,) = [row for row in bench.rows("observation") if row["observation_source_value"]
              == "900003005" and row["observation_type_concept_id"] == 32827]  # fmt: skip
    assert row["observation_concept_id"] == 1003
    assert not any(row["condition_source_value"] == "900003005"
                   for row in bench.rows("condition_occurrence"))  # fmt: skip


def test_a_code_of_two_concepts_gives_two_rows(bench: OmopLake, folder: Path) -> None:
    remap(bench, folder)

    assert [row["condition_concept_id"] for row in bench.rows("condition_occurrence")
            if row["condition_source_value"] == "Z01"] == [1001]  # fmt: skip
    assert [row["observation_concept_id"] for row in bench.rows("observation")
            if row["observation_source_value"] == "Z01"] == [1003]  # fmt: skip


def test_a_value_that_a_code_contains_is_the_rows_value(bench: OmopLake, folder: Path) -> None:
    bench.put({**bench.resources[CONDITION], "code": coding(ICD10, "Z02")})
    bench.follow(CONDITION)

    remap(bench, folder)

    (row,) = [row for row in bench.rows("observation") if row["observation_source_value"] == "Z02"]
    assert (row["observation_concept_id"], row["value_as_concept_id"]) == (1005, 1001)


def test_codes_are_chosen_by_concept_vocabulary_detail_and_preference(
    bench: OmopLake, folder: Path
) -> None:
    vocabulary = open_loaded(bench, folder)
    local, general = Coding("https://local.example", "x"), Coding(SNOMED, "900001007")
    special, classified = Coding(SNOMED, "900002000"), Coding(ICD10, "Z00")
    other = Coding(SNOMED, "900006002", preferred=True)

    assert vocabulary.choose([local, classified]).coding == classified
    assert vocabulary.choose([classified, general]).coding == general
    assert vocabulary.choose([general, special]).coding == special
    assert vocabulary.choose([special, other]).coding == other
    assert vocabulary.choose([local]).coding == local


def test_built_in_concepts_count_only_if_the_vocabulary_has_them(
    bench: OmopLake, tmp_path: Path
) -> None:
    folder = write_athena_folder(tmp_path / "part", without=(8532,))
    vocabulary = open_loaded(bench, folder)
    gender = "http://hl7.org/fhir/administrative-gender"

    assert vocabulary.find_code(gender, "male").concepts[0].concept_id == 8507
    assert vocabulary.find_code(gender, "female").reason == UnmappedReason.NO_STANDARD


def test_eras_are_of_concepts_and_of_ingredients(bench: OmopLake, folder: Path) -> None:
    remap(bench, folder)

    (era,) = bench.rows("drug_era")
    assert (era["drug_concept_id"], era["drug_exposure_count"], era["gap_days"]) == (2002, 1, 0)
    assert {row["condition_concept_id"] for row in bench.rows("condition_era")} == {1001}


def test_loading_the_same_folder_again_writes_nothing(bench: OmopLake, folder: Path) -> None:
    assert remap(bench, folder)

    assert load_vocabulary(bench.lake, folder).is_known
    assert remap(bench, folder) == set()


def test_only_tables_with_rows_that_change_are_written(
    bench: OmopLake, folder: Path, tmp_path: Path
) -> None:
    remap(bench, folder)

    # Without its laboratory test, and as another release.
    written = remap(bench, write_athena_folder(tmp_path / "less", without=(3001,), release="v2"))

    assert written == {
        "omop/measurement", "omop/cdm_source", "omop/metadata", "omop_etl/unmapped_codes"
    }  # fmt: skip


def test_a_re_map_gives_what_a_build_from_nothing_gives(bench: OmopLake, folder: Path) -> None:
    remap(bench, folder)
    mapped = {name: sorted_rows(bench.lake, name) for name in ("person", "observation", "drug_era",
              "condition_occurrence", "unmapped_codes", "source_records")}  # fmt: skip

    bench.rebuild()

    assert {name: sorted_rows(bench.lake, name) for name in mapped} == mapped


def test_the_release_is_on_record(bench: OmopLake, folder: Path) -> None:
    remap(bench, folder)

    (source,) = bench.rows("cdm_source")
    assert source["vocabulary_version"] == "v1"
    assert {row["value_as_string"] for row in bench.rows("metadata")
            if row["name"] == "vocabulary_release"} == {"v1"}  # fmt: skip
    assert len(bench.rows("concept")) == 16


def test_a_folder_that_is_no_download_of_athenas_is_refused(
    bench: OmopLake, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        load_vocabulary(bench.lake, tmp_path / "nowhere")
    (folder / "CONCEPT.csv").write_text("concept_id,concept_name\n1,x\n")
    with pytest.raises(Invalid, match=r"CONCEPT.csv has no column"):
        load_vocabulary(bench.lake, folder)
    (folder / "CONCEPT.csv").unlink()
    with pytest.raises(Invalid, match=r"CONCEPT.csv is missing"):
        load_vocabulary(bench.lake, folder)
    state = load_state(bench.lake)
    assert state is not None
    assert state.vocabulary == ""


def test_the_crosswalk_is_small_built_in_and_without_custom_concepts() -> None:
    concepts = load_crosswalk()

    assert len(concepts) < 100
    assert all(0 < one.concept_id < 2_000_000_000 for one in concepts.values())
    assert not any(system == SNOMED or system == RXNORM for system, _ in concepts)
    assert sum(system == LOINC for system, _ in concepts) == 11
    assert Vocabulary().release == "none"


def test_each_built_in_concept_says_where_it_was_seen_or_that_it_is_unchecked() -> None:
    with (files("ehr_etl.omop") / "crosswalk.csv").open(encoding="utf-8") as lines:
        sources = [row["source"] for row in csv.DictReader(lines)]

    assert all(sources)
    told = f"{sources.count('unchecked')} of the {len(sources)} say `unchecked`"
    page = (Path(__file__).parents[3] / "docs/explanation/omop.md").read_text("utf-8")
    assert told in page
