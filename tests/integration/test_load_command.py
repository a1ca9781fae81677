"""`ehr load`: each kind of bad input is refused by its line, and the rest goes on."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
from typer.testing import CliRunner, Result

from ehr_cli.main import app
from ehr_fhir import errors
from ehr_fhir.jurisdiction import JURISDICTION
from tests.lib.ports import free_port

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


def test_a_load_of_refused_lines_alone_leaves_no_platform(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text("\n".join(LINES[1:5]), "utf-8")
    arguments = ["load", str(tmp_path / "in.ndjson"), "--organization", "h", "--data"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ".kept").touch()

    for data in (tmp_path / "new", mine):
        result = runner.invoke(app, [*arguments, str(data)])
        assert result.exit_code != 0
        assert "Nothing was loaded" in result.stderr

    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ndjson", "mine"]
    assert [path.name for path in mine.iterdir()] == [".kept"]


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


def test_after_a_public_export_the_printed_commands_lead_to_a_log_in_and_to_entries(
    tmp_path: Path, shared_data: Path
) -> None:
    """README's second path, literally: load, make the accounts, serve, ask as a program."""
    export = tmp_path / "records"
    export.mkdir()
    bundles = sorted((shared_data / "synthea-r4-bundles-40").glob("*.json.gz"))
    for bundle in bundles[:2]:
        (export / bundle.name).write_bytes(bundle.read_bytes())

    printed = _run(tmp_path, "ehr load records --data mine").stdout

    commands = [line.strip() for line in printed.splitlines() if line.startswith("  ehr ")]
    assert "mine was not there before: it is a new platform." in printed
    assert [command.split()[1] for command in commands] == ["account", "account", "up", "token"]
    for command in commands[:2]:
        _run(tmp_path, command, typed="seven quiet ferries\n")
    again = _run(tmp_path, "ehr load records --data mine").stdout
    assert "account add" not in again
    assert "new platform" not in again
    _assert_it_serves(tmp_path, commands[2], commands[3])


def test_records_that_name_their_organisations_are_found_with_the_printed_token(
    tmp_path: Path,
) -> None:
    source = f"{JURISDICTION.base}/organization/ha-harbour"
    height = {"coding": [{"system": "http://loinc.org", "code": "8302-2"}]}
    patient = {**PATIENT, "meta": {"source": source}}
    observation = {
        "resourceType": "Observation", "id": "h", "meta": {"source": source}, "status": "final",
        "code": height, "subject": {"reference": "Patient/a"},
    }  # fmt: skip
    write(tmp_path, json.dumps(patient), json.dumps(observation))

    printed = _run(tmp_path, "ehr load records.ndjson --data mine").stdout

    up, token = [line.strip() for line in printed.splitlines() if line.startswith("  ehr ")][-2:]
    assert "Written by ha-harbour." in printed
    assert "--organization ha-harbour" in token
    _assert_it_serves(tmp_path, up, token)


def _run(folder: Path, command: str, *, typed: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ehr_cli.main", *shlex.split(command)[1:]]
    ran = subprocess.run(words, cwd=folder, input=typed, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def _assert_it_serves(folder: Path, up: str, token: str) -> None:
    """Serve with a printed command; README's question is answered with entries."""
    port = free_port()
    words = [sys.executable, "-m", "ehr_cli.main", *shlex.split(up)[1:], "--port", str(port)]
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None and "ready" in server.stdout.readline()
        headers = {"Authorization": f"Bearer {_run(folder, token).stdout.strip()}"}
        answer = httpx.get(
            f"http://127.0.0.1:{port}/fhir/Observation?code=http://loinc.org|8302-2&_count=5",
            headers=headers,
            timeout=60,
        )
        assert answer.status_code == 200
        assert answer.json().get("entry")
    finally:
        server.terminate()
        server.communicate(timeout=120)
