"""The ceiling of reads on SQLite: `python -m tests.perf.bench_sqlite_read [SECONDS]`.

The least work that answers a read in Python (`tests.perf.gateway.sketch`): one SELECT of a body by
type and id. Beside it the gateway, which answers the same load with log-in, consent and audit.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.perf.gateway import workload
from tests.perf.gateway.bundles import sample
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import ours
from tests.perf.gateway.sketch import (
    BODY,
    RECORDS,
    WORKERS,
    Read,
    SketchFigures,
    measure_reads,
    measure_sketch,
)
from tests.perf.gateway.wrk import require

_ROUNDS = 3


async def _without_database(_: str) -> Read:
    """Answer from memory: what HTTP alone costs."""

    async def read(kind: str, identity: str) -> bytes:
        return BODY

    return read


async def _one_select(database: str) -> Read:
    connection = sqlite3.connect(database, isolation_level=None)

    async def read(kind: str, identity: str) -> bytes:
        row = connection.execute(
            "SELECT body FROM record WHERE type = ? AND id = ?", (kind, identity)
        ).fetchone()
        return bytes(row[0])

    return read


def main() -> None:
    """Measure the sketches and the gateway in turns; print the best round of each."""
    require()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    data = sample()
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder), WORKERS) as gateway:
        database = str(Path(folder, "sketch.db"))
        _fill(database)
        workload.seed(gateway, data)
        reads = workload.reads(workload.import_bundles(gateway, data))
        ways: dict[str, Callable[[], SketchFigures]] = {
            "no database": lambda: measure_sketch("memory", _without_database, "", seconds),
            "one SELECT": lambda: measure_sketch("SELECT", _one_select, database, seconds),
            "the gateway": lambda: measure_reads(gateway, reads, seconds),
        }
        rounds = [{name: measure() for name, measure in ways.items()} for _ in range(_ROUNDS)]
    lines = [f"{'':20}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'server ms':>11}"]
    for name in ways:
        best = min((figures[name] for figures in rounds), key=lambda each: each.server_ms)
        lines.append(best.row(name))
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    publish("bench-sqlite-read", f"{WORKERS} workers, 8 connections, best of {_ROUNDS}\n{table}")


def _fill(database: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE record (type TEXT, id TEXT, body BLOB)")
        rows = [("Patient", str(number), BODY) for number in range(RECORDS)]
        connection.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
        connection.execute("CREATE UNIQUE INDEX record_key ON record (type, id)")
        connection.commit()


if __name__ == "__main__":
    main()
