"""`ehr load`: each kind of bad input is refused by its line, and the rest goes on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from typer.testing import CliRunner, Result

from ehr_cli.main import app
from ehr_fhir import errors

runner = CliRunner()

PATIENT = {"resourceType": "Patient", "id": "a", "gender": "female"}
LINES = (
    json.dumps(PATIENT),
    '{"resourceType": "Patient", "id": "cut',
    json.dumps({"resourceType": "Observatory", "id": "b"}),
    json.dumps({"resourceType": "Patient", "id": "c", "birthDate": 5}),
    json.dumps(
        {
            "resourceType": "Observation",
            "id": "d",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": "Patient/nobody"},
        }
    ),
    json.dumps({**PATIENT, "gender": "male"}),
    json.dumps({"resourceType": "Organization", "id": "e", "name": "E"}),
)


def load(data: Path, *paths: Path, rejects: Path | None = None) -> Result:
    arguments = ["load", "--data", str(data), *map(str, paths)]
    return runner.invoke(app, [*arguments, *(["--rejects", str(rejects)] if rejects else [])])


def stored(data: Path) -> list[str]:
    database = sqlite3.connect(f"file:{data / 'ehr.db'}?mode=ro", uri=True)
    rows = database.execute(
        "SELECT type || '/' || id FROM resource WHERE current = 1 AND id != 'ehr-commons'"
    )
    return sorted(name for (name,) in rows)


def write(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "records.ndjson"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_each_bad_line_is_refused_with_its_reason_and_the_rest_is_loaded(tmp_path: Path) -> None:
    file = write(tmp_path, *LINES)

    result = load(tmp_path / "data", file)

    assert result.exit_code == 0
    assert stored(tmp_path / "data") == ["Organization/e", "Patient/a"]
    reasons = {
        int(line.removeprefix(f"{file}:").split(":")[0]): line
        for line in result.stderr.splitlines()
        if line.startswith(str(file))
    }
    assert sorted(reasons) == [2, 3, 4, 5]
    assert "JSON" in reasons[2]
    assert "Observatory" in reasons[3]
    assert "birthDate" in reasons[4]
    assert "Observation/d" in reasons[5]
    # Of the patient whose id stands there twice the later version is loaded.
    assert "2 accepted, 4 refused" in result.stdout
    assert "Of 1 more the load holds a later version." in result.stdout


def test_a_file_that_is_loaded_twice_is_unchanged(tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps(PATIENT), json.dumps(PATIENT))

    first, again = load(tmp_path / "data", file), load(tmp_path / "data", file)

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "2 accepted, 0 refused" in first.stdout
    assert "1 of them were there already, unchanged." in first.stdout
    assert "2 of them were there already, unchanged." in again.stdout


def test_no_value_of_a_record_is_in_a_refusal(tmp_path: Path) -> None:
    bad = {"resourceType": "Patient", "id": "a", "birthDate": "MARKED-VALUE"}

    result = load(tmp_path / "data", write(tmp_path, json.dumps(bad)))

    assert "MARKED-VALUE" not in result.output + result.stderr


def test_when_nothing_could_be_loaded_the_exit_code_says_so(tmp_path: Path) -> None:
    result = load(tmp_path / "data", write(tmp_path, LINES[1]))

    assert result.exit_code == errors.Unprocessable.exit
    assert "Nothing was loaded" in result.stderr


def test_refusals_can_go_to_a_file(tmp_path: Path) -> None:
    rejects = tmp_path / "refused.txt"

    result = load(tmp_path / "data", write(tmp_path, *LINES), rejects=rejects)

    assert len(rejects.read_text().splitlines()) == 4
    assert str(rejects) in result.stderr


def test_a_file_of_another_kind_is_refused_and_the_others_are_loaded(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not FHIR")

    result = load(tmp_path / "data", notes, write(tmp_path, LINES[0]))

    assert result.exit_code == 0
    assert f"{notes}: The name must end in" in result.stderr
    assert stored(tmp_path / "data") == ["Patient/a"]


def test_loading_again_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, LINES[0], LINES[6])
    load(tmp_path / "data", file)

    result = load(tmp_path / "data", file)

    assert result.exit_code == 0
    database = sqlite3.connect(tmp_path / "data/ehr.db")
    assert database.execute("SELECT max(version) FROM resource").fetchone() == (1,)


def test_the_author_is_the_one_named_unless_the_record_names_its_own(tmp_path: Path) -> None:
    meta = {"source": "https://ehr-commons.hk/organization/kwun-fong"}
    own = {"resourceType": "Organization", "id": "own", "name": "x", "meta": meta}

    runner.invoke(
        app,
        [
            *("load", "--data", str(tmp_path / "data"), "--organization", "ha-harbour"),
            str(write(tmp_path, json.dumps(own), LINES[6])),
        ],
    )

    database = sqlite3.connect(tmp_path / "data/ehr.db")
    authors = database.execute("SELECT id, author FROM resource WHERE id IN ('own', 'e')")
    assert dict(authors.fetchall()) == {"own": "kwun-fong", "e": "ha-harbour"}
