"""The steward's commands on the quarantine, as far as they need no Spark."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import append_rows, create_tables

ROW = {
    "key": "7",
    "position": 7,
    "type": "Encounter",
    "id": "enc-bad",
    "version": 2,
    "last_updated": "2026-11-22T08:00:00Z",
    "author": "ha-harbour",
    "reasons": ["period-in-order"],
    "elements": ["period.start", "period.end"],
    "resource": '{"note": "CHAN Tai Man"}',
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    broken = {**ROW, "key": "x", "position": None, "type": None, "id": None, "version": None}
    create_tables(Lake(tmp_path / "lake"))
    rows = [{"bucket": 0, "deleted": False, **row} for row in (broken, ROW)]
    append_rows(
        Lake(tmp_path / "lake"),
        "quarantine",
        pa.Table.from_pylist(rows, schema=TABLES["quarantine"].schema),
    )
    return tmp_path


def test_what_waits_is_listed_with_its_reasons_and_without_its_content(data: Path) -> None:
    result = CliRunner().invoke(
        app, ["lake", "quarantine", "list", "--data", str(data)], env={"COLUMNS": "200"}
    )

    assert result.exit_code == 0, result.output
    assert "Encounter/enc-bad" in result.output and "period-in-order" in result.output
    assert "not a record" in result.output
    assert "CHAN" not in result.output


def test_an_empty_lake_has_nothing_waiting(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["lake", "quarantine", "list", "--data", str(tmp_path)])

    assert result.exit_code == 0
