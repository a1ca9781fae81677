"""Time of a cohort on made-up people: `python -m tests.perf.bench_cohort [PEOPLE] [--plot FILE]`.

Ten encounters and five conditions for each person, keys of 32 digits as the lake has them; the
cohort is `first-stroke`, to one row per person: on DuckDB from Arrow tables in memory, with
`--engine spark` from Parquet files by a session that runs already. Not a test: it prints.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_analytics.cohorts import load_cohort
from ehr_analytics.cohorts.compiler import compile_cohort
from ehr_analytics.cohorts.dialects import DUCKDB, SPARK
from ehr_analytics.cohorts.duckdb_engine import run_on_duckdb
from ehr_analytics.cohorts.result import build_result
from ehr_analytics.cohorts.sources import source_of_view
from ehr_etl.gold.library import load_view

COHORT = load_cohort(Path(str(files("ehr_analytics") / "cohorts/library/first-stroke.toml")))
VIEWS = ("condition_flat", "encounter_flat", "patient_demographics")
SOURCES = {name: source_of_view(load_view(name)) for name in VIEWS}


def make_tables(people: int) -> dict[str, pa.Table]:
    """Return the three views for so many people: one in twenty has a stroke."""
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)").fetchall()
        key = "md5(CAST(n AS VARCHAR))"
        day = "strftime(DATE '2015-01-01' + CAST(random() * 3650 AS INTEGER), '%Y-%m-%d')"
        queries = {
            "patient_demographics": f"SELECT {key} AS id, ['female','male'][1 + n % 2] AS gender,"
            f" CAST(1930 + random() * 80 AS INTEGER) AS birth_year FROM range({people}) t(n)",
            "condition_flat": f"SELECT {key} AS patient_id, CASE WHEN random() < 0.01 THEN 'I63.9'"
            " WHEN random() < 0.1 THEN 'E11.9' ELSE 'J45' END AS code,"
            f" {day} AS onset FROM range({people}) t(n), range(5) v(m)",
            "encounter_flat": "SELECT patient_id, class, start,"
            " strftime(CAST(start AS DATE) + days, '%Y-%m-%d') AS \"end\" FROM (SELECT "
            f"{key} AS patient_id, CASE WHEN random() < 0.3 THEN 'IMP' ELSE 'AMB' END AS class,"
            f" {day} AS start, CAST(random() * 9 AS INTEGER) AS days"
            f" FROM range({people}) t(n), range(10) v(m))",
        }
        return {name: _fetch(connection, sql) for name, sql in queries.items()}


def _fetch(connection: Any, sql: str) -> pa.Table:  # Any: DuckDB's own types differ by version
    return connection.sql(sql).to_arrow_table()


def measure_on_duckdb(tables: Mapping[str, pa.Table]) -> tuple[float, float, int]:
    """Return the seconds of the cohort, those of CPU, and how many people are in it."""
    compiled = compile_cohort(COHORT, SOURCES, DUCKDB)
    return _measure(lambda: run_on_duckdb(compiled, tables.__getitem__, "key"))


def measure_on_spark(tables: Mapping[str, pa.Table]) -> tuple[float, float, int]:
    """Return the same of Spark, with the CPU of its JVM."""
    from ehr_analytics.cohorts.spark_engine import run_on_spark
    from ehr_etl.spark.session import spark_session

    folder = Path(tempfile.gettempdir()) / "bench-cohort"
    session = spark_session(folder)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")

    def open_source(own: Any, name: str) -> Any:  # Any: Spark's session and frame
        return own.read.parquet(str(folder / f"{name}.parquet"))

    compiled = compile_cohort(COHORT, SOURCES, SPARK)
    before = _read_java_seconds(session)
    seconds, cpu, chosen = _measure(lambda: run_on_spark(session, compiled, open_source, "key"))
    cpu += _read_java_seconds(session) - before
    for name in tables:
        (folder / f"{name}.parquet").unlink()
    return seconds, cpu, chosen


def _read_java_seconds(session: Any) -> float:  # Any: Spark's session
    """Return the processor seconds of the JVM so far (proc(5): utime and stime)."""
    pid = session.sparkContext._gateway.proc.pid
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(run: Callable[[], pa.Table]) -> tuple[float, float, int]:
    started, cpu_started = time.perf_counter(), time.process_time()
    result = build_result(COHORT, run())
    cpu = time.process_time() - cpu_started
    return time.perf_counter() - started, cpu, result.table.num_rows


ENGINES = {"duckdb": measure_on_duckdb, "spark": measure_on_spark}


def main() -> None:
    """Print seconds and memory by the number of people."""
    parser = argparse.ArgumentParser()
    parser.add_argument("people", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--engine", choices=ENGINES, default="duckdb")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    points = []
    for people in arguments.people:
        seconds, cpu, chosen = ENGINES[arguments.engine](make_tables(people))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        times = f"{seconds:8.2f} s, {cpu:.2f} s of CPU"
        load = f"load {os.getloadavg()[0]:.1f}"
        print(f"{people:>10,} people {times}, {chosen:,} chosen, {memory:.1f} GB, {load}")  # noqa: T201
        points.append((people, cpu))
    if arguments.plot is not None:
        draw(points, arguments.plot)


def draw(points: list[tuple[int, float]], path: Path) -> None:
    """Draw seconds of CPU over people, both on logarithmic scales."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.loglog(*zip(*points, strict=True), marker="o", color="#0072B2")
    for people, seconds in points:
        axes.annotate(f"{seconds:.1f} s", (people, seconds), (6, -12), textcoords="offset points")
    axes.axhline(10, color="#D55E00", linestyle="--", linewidth=1)
    axes.set_xlabel("people, with ten encounters and five conditions each")
    axes.set_ylabel("seconds of CPU, all threads")
    axes.set_title("Cohort on DuckDB, from tables to one row per person", loc="left")
    axes.grid(alpha=0.3)
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
