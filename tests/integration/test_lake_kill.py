"""kill -9 in the middle of a run: the next run ends with the tables of an undisturbed one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ehr_etl.lake import Lake
from ehr_etl.pipeline import run_once
from tests.lib.lake_input import KEY, NOW_MS, TABLES, first_feed, rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(3000)]

ROOT = Path(__file__).resolve().parents[2]

# The process kills itself just after a commit of one table, so that the moment is always the same.
KILLED = """
import os, signal, sys
from pathlib import Path
from ehr_etl import batch, pipeline
from ehr_etl.lake import Lake
from ehr_etl.tables import bronze
from ehr_etl.spark.session import spark_session
from tests.lib.lake_input import KEY, NOW_MS, first_feed

folder, moment = Path(sys.argv[1]), sys.argv[2]

def after(function):
    def both(*arguments, **more):
        found = function(*arguments, **more)
        if moment in map(str, arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return both

if moment == "bronze":
    bronze.append_rows = after(bronze.append_rows)
elif moment == "gold":
    update = batch.update_gold_table
    def die(*arguments, **more):
        update(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    batch.update_gold_table = die
else:
    batch.delete_keys_and_add = after(batch.delete_keys_and_add)
spark = spark_session(folder / "work")
pipeline.run_once(spark, Lake(folder / "lake"), first_feed(), deid_key=KEY, now_ms=NOW_MS)
"""


def test_a_killed_run_is_taken_up_where_it_was(spark: SparkSession, tmp_path: Path) -> None:
    whole, killed = Lake(tmp_path / "whole"), Lake(tmp_path / "killed" / "lake")
    run_once(spark, whole, first_feed(), deid_key=KEY, now_ms=NOW_MS)

    for moment in ("bronze", "quarantine", "silver", "deid", "gold", "decisions", "places"):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), moment], cwd=ROOT, check=False
        )
        assert ran.returncode == -signal.SIGKILL, moment
    run_once(spark, killed, first_feed(), deid_key=KEY, now_ms=NOW_MS)

    for table in TABLES:
        assert rows(killed, table) == rows(whole, table), table
