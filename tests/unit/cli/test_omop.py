"""`ehr lake omop`, as far as it needs no Spark: vocabulary, report, checks."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_etl.progress import Progress, load_progress, save_progress
from tests.lib.lake_input import KEY, NOW_MS, first_feed
from tests.lib.omop_lake import OmopLake, hospital, read_rows, write_athena_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bench = OmopLake(Lake(tmp_path / "data" / "lake"))
    bench.put(*hospital())
    bench.rebuild()
    save_progress(bench.lake, Progress(buckets=bench.buckets, digests={"omop": "made"}))
    (tmp_path / "data" / "keys").mkdir()
    (tmp_path / "data" / "keys" / "deid.key").write_bytes(KEY)
    return tmp_path / "data"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["lake", "omop", *arguments])
    return result.exit_code, result.stdout


def test_the_vocabulary_is_loaded_once(data: Path, tmp_path: Path) -> None:
    folder = str(write_athena_folder(tmp_path / "athena"))

    code, output = run("vocabulary", folder, "--data", str(data))
    again, second = run("vocabulary", folder, "--data", str(data))

    assert (code, again) == (0, 0)
    assert "concept: 16 rows." in output
    assert "Vocabulary release v1 is loaded." in output
    assert "omop/condition_occurrence" in output
    assert second.splitlines() == ["Vocabulary release v1 was loaded before.", "Nothing changed."]


def test_the_tables_are_made_once_and_followed_from_then_on(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data / "keys", other / "keys")
    with LakeWriter(Lake(other / "lake"), KEY) as writer:
        writer.take_in(first_feed())
        writer.bring_up(NOW_MS)

    made = CliRunner().invoke(app, ["lake", "omop", "build", "--data", str(other)])

    assert made.exit_code == 0, made.output
    assert "omop/person" in made.output
    assert len(read_rows(Lake(other / "lake"), "person")) == 2
    with LakeWriter(Lake(other / "lake"), KEY) as writer:
        assert "omop" in load_progress(writer.lake).digests
        assert not writer.bring_up(NOW_MS).rebuilt


def test_an_empty_lake_has_no_tables_to_make(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data / "keys", other / "keys")

    made = CliRunner().invoke(app, ["lake", "omop", "build", "--data", str(other)])

    assert made.exit_code == 14
    assert "ehr lake run" in made.output


def test_the_report_is_a_table_json_and_a_plot(data: Path, tmp_path: Path) -> None:
    code, output = run("report", "--data", str(data))
    plotted, text = run("report", "--json", "--plot", str(tmp_path / "x.png"), "--data", str(data))

    assert (code, plotted) == (0, 0)
    assert "measurement\t\t3\t2\t66.7 %" in output
    assert "condition_occurrence\thttp://snomed.info/sct\tno-vocabulary-loaded\t1" in output
    report = json.loads(text)
    assert report["used"]["vocabulary_release"] == "none"
    assert report["populated"]["note"] == {"rows": 0, "columns": "none"}
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_checks_that_fail_are_told_and_exit_with_1(data: Path, tmp_path: Path) -> None:
    code, output = run("check", "--csv", str(tmp_path / "x.csv"), "--data", str(data))
    _, text = run("check", "--json", "--data", str(data))

    # Without a vocabulary most concepts are 0.
    assert code == 1
    assert "standardConceptRecordCompleteness\tcondition_occurrence" in output
    summary = json.loads(text)["summary"]["all"]
    assert summary["failed"] > 0
    with (tmp_path / "x.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == summary["executed"] + summary["not applicable"]


def test_a_lake_without_the_tables_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    result = CliRunner().invoke(app, ["lake", "omop", "report", "--data", str(tmp_path)])

    assert result.exit_code == 14
    assert "ehr lake omop build" in result.output
