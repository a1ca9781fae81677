"""Time of k-anonymous extracts: `python -m tests.perf.bench_extract [ROWS …] [--engine spark]`.

Five quasi-identifiers (year of birth, sex, district, visits, first day) and a code as sensitive
column; k = 10, l = 3, t = 0.4. In one process by `ehr_privacy.risk.anonymize`; with `--engine
spark` from Parquet to Parquet by a session that runs already. Each extract is measured from what
came out. With `--peers PYTHON`, an interpreter of an environment that has `pycanon`
(it needs an older numpy than is locked), pycanon measures the extract too. Not a test: it prints.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_privacy.risk import AnonymityTerms, anonymize, measure_diversity, measure_risk

QUASI = ["birth_year", "sex", "district", "visits", "first_day"]
TERMS = AnonymityTerms(10, "code", 3, 0.4)
# Of the released table alone, by a peer that shares nothing with it.
PEER = """
import sys, pandas
import pycanon.anonymity as peer
table = pandas.read_parquet(sys.argv[1]).astype(str)
names = sys.argv[2].split(",")
print("pycanon: k", peer.k_anonymity(table, names), "l", peer.l_diversity(table, names, ["code"]),
      "t", round(peer.t_closeness(table, names, ["code"]), 4))
"""


def make_people(rows: int) -> pa.Table:
    """Return made-up people, each with a code; most rows are alone by their quasi-identifiers."""
    draw = np.random.default_rng(1)
    return pa.table(
        {
            "birth_year": 1930 + (draw.random(rows) * 90).astype(np.int32),
            "sex": np.array(["female", "male"])[draw.integers(0, 2, rows)],
            "district": np.array([f"d{number:02}" for number in range(18)])[
                draw.integers(0, 18, rows)
            ],
            "visits": draw.poisson(6, rows).astype(np.int32),
            "first_day": draw.integers(0, 3650, rows).astype(np.int32),
            "code": np.array([f"c{number}" for number in range(50)])[
                np.minimum(draw.geometric(0.12, rows) - 1, 49)
            ],
        }
    )


def extract_on_spark(table: pa.Table, folder: Path) -> tuple[pa.Table, float]:
    """Return the extract, and the processor seconds of Spark and its workers."""
    from ehr_analytics.spark_extract import anonymize_on_spark
    from ehr_etl.spark.session import spark_session

    session = spark_session(folder / "spark")
    pq.write_table(table, folder / "people.parquet", row_group_size=500_000)
    before = _read_children_seconds(session)
    frame = session.read.parquet(str(folder / "people.parquet"))
    anonymize_on_spark(frame, QUASI, TERMS).write.parquet(str(folder / "extract"), "overwrite")
    return pq.read_table(folder / "extract"), _read_children_seconds(session) - before


def _read_children_seconds(session: object) -> float:
    """Return the processor seconds of the JVM and of the workers that it waited for (proc(5))."""
    pid = session.sparkContext._gateway.proc.pid  # type: ignore[attr-defined]
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print seconds, memory and what the extract meets, by the number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--engine", choices=("process", "spark"), default="process")
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-extract-"))
    try:
        for rows in arguments.rows:
            table = make_people(rows)
            started, cpu_started, cpu = time.perf_counter(), time.process_time(), 0.0
            if arguments.engine == "spark":
                released, cpu = extract_on_spark(table, folder)
            else:
                released = anonymize(table, QUASI, TERMS)
            cpu += time.process_time() - cpu_started
            seconds = time.perf_counter() - started
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            report, diversity = measure_risk(released, QUASI), measure_diversity(released, QUASI, "code")  # fmt: skip  # noqa: E501
            print(  # noqa: T201
                f"{rows:>10,} rows {seconds:7.1f} s, {cpu:.1f} s of CPU, {memory:.1f} GB,"
                f" load {os.getloadavg()[0]:.1f}; {report.classes:,} classes, k {report.k},"
                f" l {diversity.distinct}, t {diversity.closeness:.4f}",
                flush=True,
            )
            if arguments.peers is not None:
                pq.write_table(released, folder / "released.parquet")
                command = [str(arguments.peers), "-c", PEER, str(folder / "released.parquet")]
                subprocess.run([*command, ",".join(QUASI)], check=True, stdout=sys.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
