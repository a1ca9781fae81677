"""`ehr export`: the files of a bulk export, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehr_cli.commands.export import ExportedFiles, Selection, export_files
from ehr_fhir.errors import Conflict, NotFound
from tests.lib.gateway import BASE, House, must, observation


def _export(house: House, folder: Path, selection: Selection) -> ExportedFiles:
    token = house.system("hospital-a").headers["Authorization"].removeprefix("Bearer ")
    return export_files(house.client, f"{BASE}/fhir", lambda: token, folder, selection)


def test_each_file_holds_the_records_of_a_type(furnished: House, tmp_path: Path) -> None:
    exported = _export(furnished, tmp_path / "out", Selection(types=("Condition", "Observation")))

    files = {
        path.name: path.read_text("utf-8").splitlines() for path in (tmp_path / "out").iterdir()
    }
    assert {name: len(lines) for name, lines in files.items()} == {
        "1.Condition.ndjson": 1,
        "2.Observation.ndjson": 3,
    }
    assert json.loads(files["1.Condition.ndjson"][0])["id"] == "con-1"
    assert exported == ExportedFiles(2, 4, "2026-11-22T08:00:00.000Z")


def test_the_next_one_goes_on_from_there(furnished: House, tmp_path: Path) -> None:
    hospital = furnished.system("hospital-a")
    since = _export(furnished, tmp_path / "first", Selection()).transaction_time
    hospital.store(observation("new", "laboratory"))
    must(hospital.delete("Observation/lab-2"))

    exported = _export(furnished, tmp_path / "second", Selection(patients=True, since=since))

    assert exported.resources == 1
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == [
        "1.Observation.ndjson", "deleted.2.Bundle.ndjson",
    ]  # fmt: skip


def test_a_folder_with_files_is_left_alone(furnished: House, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")

    with pytest.raises(Conflict):
        _export(furnished, tmp_path, Selection())


def test_a_refusal_says_why(furnished: House, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no Group"):
        _export(furnished, tmp_path / "out", Selection(group="absent"))
