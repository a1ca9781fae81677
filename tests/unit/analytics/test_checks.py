"""The automatic checks of the airlock."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_analytics.output_checks import MAX_ROWS, check_outputs, is_allowed_count

COUNTS = ("people", "stays")
POLICY = "opensafely-7-5"


def failed(folder: Path) -> list[str]:
    return [check.name for check in check_outputs(folder, POLICY, COUNTS) if not check.passed]


def test_a_controlled_table_passes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sex,people,stays\nfemale,10,25\nmale,[hidden],[hidden]\n")

    assert failed(tmp_path) == []


@pytest.mark.parametrize("cell", ["0", "1", "7", "8", "12", "-5", "", "5.0", "many"])
def test_a_cell_that_breaks_the_policy_is_found(tmp_path: Path, cell: str) -> None:
    (tmp_path / "a.csv").write_text(f"sex,people,stays\nfemale,10,{cell}\n")

    assert failed(tmp_path) == ["small cells"]


@pytest.mark.parametrize("name", ["patient_id", "id", "hkid", "patient_name", "birth_date", "UUID"])
def test_a_column_of_identifiers_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(f"{name},people\nx,10\n")

    assert "column names" in failed(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        "a" * 32,
        "0b1f6d0e-93c1-4e0f-b3a4-0d2a3a4b5c6d",
        "A123456(3)",
        "1970-01-31",
        "Patient/0b1f6d0e93",
    ],
)
def test_a_value_like_an_identifier_is_found_and_not_repeated(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.csv").write_text(f"sex,people\n{value},10\n")

    checks = [c for c in check_outputs(tmp_path, POLICY, COUNTS) if not c.passed]

    assert [check.name for check in checks] == ["values"]
    assert value not in checks[0].reason


def test_a_code_of_a_diagnosis_is_no_identifier(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("reason,people\n11111111000004100,10\n")

    assert failed(tmp_path) == []


def test_only_csv_and_png_leave(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"x")
    (tmp_path / "fake.png").write_bytes(b"PK\x03\x04")

    assert failed(tmp_path) == ["file type", "file type"]


def test_too_many_rows_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sex,people\n" + "x,10\n" * (MAX_ROWS + 1))

    assert failed(tmp_path) == ["row limit"]


def test_a_table_without_a_declared_count_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sex,n\nfemale,3\n")

    assert failed(tmp_path) == ["small cells"]


def test_an_empty_folder_is_found(tmp_path: Path) -> None:
    assert failed(tmp_path) == ["not empty"]


def test_each_policy_shows_only_its_own_outcomes() -> None:
    assert [c for c in range(21) if is_allowed_count("opensafely-7-5", c)] == [10, 15, 20]
    assert [c for c in range(21) if is_allowed_count("midpoint-6", c)] == [0, 3, 9, 15]
    assert [c for c in range(13) if is_allowed_count("acro-10", c)] == [10, 11, 12]
    assert not is_allowed_count("none", 1000)
