"""Tables made anew on processes, on a Spark cluster and over an object store: always the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ehr_etl import jobs, pipeline
from ehr_etl.jobs import LocalRunner, Runner
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from tests.lib.lake_input import KEY, NOW_MS, TABLES, Pages, first_feed, rows
from tests.lib.object_store import ObjectStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROWS_PER_BUCKET", 1)
    monkeypatch.setattr(pipeline, "_CROWDED", 10**9)
    monkeypatch.setattr(pipeline, "_FEWEST_BUCKETS", 8)


class Recorder:
    """Runs parts in this process, and keeps what comes back to the driver."""

    slots = 2

    def __init__(self) -> None:
        self.results: list[Any] = []

    @contextmanager
    def open(self, rows: int) -> Iterator[Any]:
        def run(work: Any, parts: Sequence[Any]) -> list[Any]:
            made = [work(part) for part in parts]
            self.results += made
            return made

        yield run


def build(lake: Lake, runner: Runner | None = None) -> dict[str, list[str]]:
    """Bring a lake up by batches, make it anew by a runner, and return its tables."""
    with LakeWriter(lake, KEY, runner) as writer:
        writer.take_in(first_feed())
        writer.bring_up(NOW_MS)
        writer.rebuild("silver", NOW_MS)
    return content_of(lake)


def content_of(lake: Lake) -> dict[str, list[str]]:
    return {name: rows(lake, name) for name in (*TABLES, "places")}


def test_processes_make_the_tables_that_one_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(Lake(tmp_path / "whole"))
    monkeypatch.setattr(jobs, "_FEWEST_ROWS", 0)

    assert build(Lake(tmp_path / "parts"), LocalRunner(2)) == whole


def test_no_row_comes_back_from_a_part(tmp_path: Path) -> None:
    recorder = Recorder()
    build(Lake(tmp_path), recorder)

    # Names of files, numbers, and reasons of rules: nothing that grows with a record.
    text = repr(recorder.results)
    assert len(recorder.results) > 8
    assert not any(word in text for word in ("resourceType", "p-one", "enc-one", "CHAN"))
    for result in recorder.results:
        actions = [one for made in (result.files.values() if result else ()) for one in made]
        assert len(repr(result)) < 500 + 600 * len(actions)


CLUSTER = """
import sys
from pathlib import Path
from ehr_etl import pipeline
from ehr_etl.lake import Lake
from ehr_etl.spark.cluster import SparkRunner
from ehr_etl.spark.session import SparkSettings, spark_session
from tests.integration.test_lake_runners import build

pipeline.ROWS_PER_BUCKET, pipeline._CROWDED, pipeline._FEWEST_BUCKETS = 1, 10**9, 8
folder, master = Path(sys.argv[1]), sys.argv[2]
started = []

def start():
    started.append(1)
    return spark_session(folder / "spark", SparkSettings(master, "1g"))

def where(part):
    import ehr_etl
    return ehr_etl.__file__

runner = SparkRunner(start)
build(Lake(folder / "lake"), runner)
assert started
with runner.open(0) as run:
    (place,) = set(run(where, range(4)))
# The software that was sent along, not what happens to be installed.
assert "ehr-commons.zip" in place, place
start().stop()
"""


def run_on_cluster(folder: Path, master: str) -> dict[str, list[str]]:
    ran = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(folder), master],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    return content_of(Lake(folder / "lake"))


def test_a_job_on_spark_makes_the_same_tables(tmp_path: Path) -> None:
    whole = build(Lake(tmp_path / "whole"))

    assert run_on_cluster(tmp_path / "spark", "local[2]") == whole


@pytest.mark.slow
def test_a_cluster_of_executors_makes_the_same_tables(tmp_path: Path) -> None:
    whole = build(Lake(tmp_path / "whole"))

    assert run_on_cluster(tmp_path / "cluster", "local-cluster[2,1,1024]") == whole


@pytest.mark.slow
def test_a_standalone_master_with_two_workers_makes_the_same_tables(tmp_path: Path) -> None:
    from tests.lib.spark_cluster import run_standalone

    whole = build(Lake(tmp_path / "whole"))
    with run_standalone(tmp_path / "servers", workers=2) as master:
        assert run_on_cluster(tmp_path / "cluster", master) == whole


def test_tables_in_an_object_store_are_the_same(object_store: ObjectStore, tmp_path: Path) -> None:
    whole = build(Lake(tmp_path / "whole"))
    lake = Lake(tmp_path / "state", object_store.url, object_store.options)

    assert build(lake) == whole
    assert not list(tmp_path.joinpath("state").rglob("*.parquet"))
    # Files that nobody needs are deleted there too, and a second run writes nothing.
    with LakeWriter(lake, KEY) as writer:
        writer.take_in(Pages([]))
        change = writer.bring_up(NOW_MS)
        writer.maintain(0, NOW_MS)
    assert (change.written, change.rebuilt) == (set(), [])
    assert content_of(lake) == whole
