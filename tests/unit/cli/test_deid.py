"""`ehr deid explain`: the fate of each element, never its value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ehr_cli.main import app

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p-secret",
    "birthDate": "1915-03-02",
    "name": [{"family": "CHAN"}],
}
STAY: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": "e-secret",
    "status": "finished",
    "subject": {"reference": "Patient/p-secret"},
    "period": {"start": "2000-06-15T03:17:00+08:00"},
}


@pytest.fixture(params=["one", "bundle", "ndjson"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a file with the stay, and with the patient where it can hold two."""
    content = {
        "one": json.dumps(STAY, indent=1),
        "bundle": json.dumps(
            {"resourceType": "Bundle", "entry": [{"resource": PATIENT}, {"resource": STAY}]}
        ),
        "ndjson": f"{json.dumps(PATIENT)}\n{json.dumps(STAY)}\n",
    }
    path = tmp_path / "records"
    path.write_text(content[request.param], "utf-8")
    return path


def explain(path: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["deid", "explain", str(path), "--data", "absent", *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_each_element_is_told_and_no_value(file: Path) -> None:
    output = explain(file)

    rows = [line.split("\t") for line in output.splitlines()]
    assert ["Encounter.period.start", "changed", "dateshift"] in rows
    assert not any(value in output for value in ("secret", "CHAN", "2000", "1915"))


def test_the_records_that_come_out_can_be_shown(file: Path) -> None:
    records = [json.loads(line) for line in explain(file, "--result").splitlines()]

    stay = records[-1]
    assert stay["period"]["start"] < "2000-06-15" and "T" not in stay["period"]["start"]
    if len(records) == 2:
        assert abs(stay["extension"][0]["valueInteger"] - 85) <= 1
        assert stay["subject"]["reference"] == f"Patient/{records[0]['id']}"


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', None])
def test_a_file_that_holds_no_records_is_refused_in_a_sentence(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "records"
    if content is not None:
        path.write_text(content, "utf-8")

    done = CliRunner().invoke(app, ["deid", "explain", str(path)])

    assert done.exit_code != 0
