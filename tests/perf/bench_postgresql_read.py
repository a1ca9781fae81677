"""The ceiling of reads on PostgreSQL: `python -m tests.perf.bench_postgresql_read [SECONDS]`.

The least work that answers a read in Python: a bare ASGI application under the gateway's own HTTP
server and workers, and one prepared statement that returns a body by type and id. No log-in, no
consent, no audit. The same load as for the gateway (`tests.perf.gateway.wrk`, 8 connections), once
for each way to reach the database. asyncpg is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import psycopg

from tests.perf.gateway.pages import publish
from tests.perf.gateway.postgres import scratch_database
from tests.perf.gateway.sketch import BODY, RECORDS, WORKERS, measure_sketch
from tests.perf.gateway.wrk import require
from tests.perf.postgresql_readers import READERS


def main() -> None:
    """Measure each reader in turn and print a table."""
    require()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    lines = [f"{'':20}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'server ms':>11}{'database ms':>13}"]
    with scratch_database("postgresql") as url:
        _fill(url)
        for name in READERS:
            if name == "asyncpg" and importlib.util.find_spec("asyncpg") is None:
                continue
            figures = measure_sketch(name, READERS[name], url, seconds, _database_processes)
            lines.append(f"{figures.row(name)}{figures.database_ms:13.3f}")
            sys.stderr.write(f"{lines[-1]}\n")
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    publish("bench-postgresql-read", f"{WORKERS} workers, 8 connections\n{table}")


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE record (type text, id text, body bytea)")
        rows = [("Patient", str(number), BODY) for number in range(RECORDS)]
        connection.cursor().executemany("INSERT INTO record VALUES (%s, %s, %s)", rows)
        connection.execute("CREATE UNIQUE INDEX ON record (type, id)")
        connection.execute("ANALYZE record")


def _database_processes() -> list[int]:
    """Return the processes of every PostgreSQL server of this machine."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _command(pid).startswith("postgres")]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
