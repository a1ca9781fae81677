"""`ehr privacy`: risks shown, and an extract that is measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from ehr_cli.main import app

QUASI = "birth_year,sex"


def test_a_file_is_measured_and_an_extract_of_it_meets_its_terms(tmp_path: Path) -> None:
    file, out = tmp_path / "people.parquet", tmp_path / "out.parquet"
    years = [1930 + number % 60 for number in range(200)]
    sexes = ["female" if number % 3 else "male" for number in range(200)]
    columns = {"id": [f"p{number}" for number in range(200)], "birth_year": years, "sex": sexes}
    pq.write_table(pa.table(columns), file)

    shown = CliRunner().invoke(app, ["privacy", "risk", str(file), "--quasi", QUASI, "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["k"] < 10
    written = CliRunner().invoke(
        app, ["privacy", "extract", str(file), "--quasi", QUASI, "--out", str(out)]
    )
    assert written.exit_code == 0, written.output
    again = CliRunner().invoke(app, ["privacy", "risk", str(out), "--quasi", QUASI, "--json"])
    assert json.loads(again.output)["k"] >= 10
    assert pq.read_table(out).column_names == QUASI.split(",")
