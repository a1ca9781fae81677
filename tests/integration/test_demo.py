"""`ehr demo --once`: the whole way, run once; then what it left behind is looked at."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_cli.sample.hong_kong import HKID_PREFIX
from ehr_cli.sample.overlay import sample_patients, sample_resources
from ehr_etl.gold.library import list_view_names
from tests.lib.demo import Demo
from tests.lib.erasure_files import find_unlisted_files

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
GOLD = list_view_names()
SCORE = "RiskAssessment"

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1800)]


def test_it_is_told_of_every_file_what_an_erasure_does_with_it(demo: Demo) -> None:
    assert find_unlisted_files(demo.data) == []


def test_every_file_is_for_its_owner_alone(demo: Demo) -> None:
    """Store, journal, keys, lake, models, studies: whatever the folder they are put in."""
    opened = [
        path
        for folder in (demo.data, demo.data.with_name(f"{demo.data.name}-journal"))
        for path in folder.rglob("*")
        if path.stat().st_mode & 0o077 and not path.is_symlink()
    ]

    assert [str(path) for path in opened] == []


def test_every_step_is_in_the_table_with_its_seconds(demo: Demo) -> None:
    steps = (
        *("sample", "load", "consents", "lake", "quality", "study", "model", "verdict"),
        *("switch", "access"),
    )

    for step in steps:
        assert re.search(rf"^{step}\t.+\t.+\t\d+\.\d$", demo.output, re.MULTILINE), step


def test_the_log_ins_are_printed_whole(demo: Demo) -> None:
    rows = [line.split("\t") for line in demo.output.splitlines() if "\t" in line]

    assert ["doctor", "st-gabriel", "dr.wong", "demo-dr.wong"] in [row[1:] for row in rows]
    assert f"eID {sample_patients()[0].hkid}" in [row[3] for row in rows if len(row) == 5]


def test_no_address_is_printed_but_the_command_that_opens_the_portal(demo: Demo) -> None:
    assert "http" not in demo.output
    (command,) = [line.strip() for line in demo.output.splitlines() if "ehr up" in line]

    with start(demo, command) as line:
        assert line == (
            f"eHR Commons is ready at http://127.0.0.1:{demo.port} "
            f"(FHIR at http://127.0.0.1:{demo.port}/fhir).\n"
        )
        assert httpx.get(f"http://127.0.0.1:{demo.port}/", timeout=60).status_code == 200


def test_the_doctor_saw_nothing_while_sharing_was_off(demo: Demo) -> None:
    match = re.search(r"doctor sees ([\d,]+); off: (\d+) .* on: ([\d,]+)", demo.output)

    assert match
    assert match[2] == "0"
    assert match[1] == match[3] != "0"


def test_the_whole_sample_is_in_the_store(demo: Demo) -> None:
    stored = _stored(demo)

    wanted = {f"{resource['resourceType']}/{resource['id']}" for resource in sample_resources()}
    assert wanted <= stored


def test_quality_results_came_back_to_the_store(demo: Demo) -> None:
    kinds = {name.partition("/")[0] for name in _stored(demo)}

    assert "MeasureReport" in kinds


def test_a_model_that_nobody_promoted_writes_nothing_about_anybody(demo: Demo) -> None:
    own = {f"{one['resourceType']}/{one['id']}" for one in sample_resources()}
    scored = {name for name in _stored(demo) if name.startswith(SCORE)}

    assert "It is not promoted, so nobody is scored" in demo.output
    assert scored <= own


def test_the_server_has_stopped(demo: Demo) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", demo.port)) != 0


@contextmanager
def start(demo: Demo, command: str) -> Iterator[str]:
    """Run an `ehr` command of the demo's output until the block ends; lend its first line."""
    words = shlex.split(command)[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", "ehr_cli.main", *words],
        cwd=demo.data.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=120)


def test_no_identifier_of_the_sample_is_in_deid_or_gold(demo: Demo) -> None:
    for name in ("deid", *(f"gold/{view}" for view in GOLD)):
        table = DeltaTable(str(demo.data / "lake" / name)).to_pyarrow_table()
        assert table.num_rows > 0
        _assert_clean(b"\n".join(_cells(table.to_pylist())), name)


def test_no_identifier_of_the_sample_is_in_the_files_of_deid_gold_and_releases(
    demo: Demo,
) -> None:
    folders = ("lake/deid", "lake/gold", "research")
    files = [f for name in folders for f in (demo.data / name).rglob("*") if f.is_file()]

    assert files
    for file in files:
        _assert_clean(_content(file), str(file))


def test_those_who_opted_out_or_never_joined_are_not_in_deid(demo: Demo) -> None:
    deid = DeltaTable(str(demo.data / "lake/deid")).to_pyarrow_table()

    people = {row for row in deid["patient"].to_pylist() if row}
    assert len(people) == len(sample_patients()) - 3


def test_the_released_record_names_its_controls(demo: Demo) -> None:
    records = [
        json.loads(file.read_bytes())
        for file in (demo.data / "research").rglob("*.json")
        if b'"policy"' in file.read_bytes()
    ]

    assert records
    assert any("opensafely-7-5" in json.dumps(record) for record in records)


def test_no_log_holds_an_identifier(demo: Demo) -> None:
    logs = list(demo.data.rglob("*.log"))

    assert logs
    for log in logs:
        _assert_clean(log.read_bytes(), str(log))


def test_the_quality_results_can_be_read(demo: Demo) -> None:
    answer = CliRunner().invoke(app, ["lake", "quality", "--data", str(demo.data)])

    assert answer.exit_code == 0
    assert "id-is-a-pseudonym" in answer.output


def test_a_view_of_ones_own_becomes_a_gold_table(
    demo: Demo, tmp_path: Path, spark: SparkSession
) -> None:
    file = tmp_path / "allergies.json"
    column = {"path": "getResourceKey()", "name": "id"}
    view = {"resource": "AllergyIntolerance", "name": "allergies", "select": [{"column": [column]}]}
    file.write_text(json.dumps({"resourceType": "ViewDefinition", "status": "active", **view}))

    # The command finds the session of this test run, so no second one starts.
    answer = CliRunner().invoke(app, ["lake", "view", str(file), "--data", str(demo.data)])

    assert answer.exit_code == 0, answer.output
    assert DeltaTable(str(demo.data / "lake/gold/allergies")).to_pyarrow_table().num_rows > 0


def _stored(demo: Demo) -> set[str]:
    database = sqlite3.connect(f"file:{demo.data / 'ehr.db'}?mode=ro", uri=True)
    rows = database.execute("SELECT type, id FROM resource WHERE current = 1 AND deleted = 0")
    return {f"{kind}/{identity}" for kind, identity in rows}


def _current(demo: Demo) -> Iterator[dict[str, Any]]:
    database = sqlite3.connect(f"file:{demo.data / 'ehr.db'}?mode=ro", uri=True)
    rows = database.execute("SELECT body FROM resource WHERE current = 1 AND deleted = 0")
    return (json.loads(body) for (body,) in rows)


def _content(file: Path) -> bytes:
    """Return what a file holds; of a table's its cells: compressed bytes look like anything."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    return b"\n".join(_cells(pyarrow.parquet.read_table(file).to_pylist()))


def _cells(value: object) -> Iterator[bytes]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _cells(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _cells(item)
    elif isinstance(value, str):
        yield value.encode()


def _assert_clean(content: bytes, where: str) -> None:
    for patient in sample_patients():
        for identifier in patient.identifiers():
            assert identifier.encode() not in content, where
    assert re.search(HKID_PREFIX.encode() + rb"\d{6}", content) is None, where
    assert not _ids() & set(UUID.findall(content)), where


@cache
def _ids() -> frozenset[bytes]:
    return frozenset(resource["id"].encode() for resource in sample_resources())
