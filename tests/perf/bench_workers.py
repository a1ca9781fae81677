"""What more workers give, on both databases: `make bench-workers`.

The loads of `make bench-gateway`, without the reference: requests a second with one worker and with
more. Client, server and database share the machine's cores, so workers beyond them give nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.perf.gateway import workload
from tests.perf.gateway.bundles import Sample, sample
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import ours
from tests.perf.gateway.wrk import press, require

LOADS = ("create", "read", "search", "update")


def main() -> None:
    """Measure each database with each number of workers, print the table."""
    asked = _arguments()
    require()
    data = sample()
    heads = "".join(f"{name:>9}" for name in (*LOADS, "import"))
    lines = [f"{'requests a second; import: resources a second':48}{heads}  start  MiB a worker"]
    for database in asked.databases.split(","):
        for workers in map(int, asked.workers.split(",")):
            lines.append(_line(data, database, workers, asked))
            sys.stdout.write(lines[-1] + "\n")
    publish("bench-workers", "\n".join(lines))


def _line(data: Sample, database: str, workers: int, asked: argparse.Namespace) -> str:
    place = None if database == "sqlite" else database
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder), workers, place) as server:
        workload.seed(server, data)
        imported = workload.import_bundles(server, data)
        loads = {
            "create": workload.creates(data),
            "read": workload.reads(imported),
            "search": workload.searches(data, imported),
            "update": workload.updates(server, data),
        }
        rates = []
        for name in LOADS:
            # Several short runs: how connections fall to the workers is a matter of luck.
            runs = [press(server, loads[name], asked.seconds) for _ in range(asked.rounds)]
            if errors := sum(run.errors for run in runs):
                raise SystemExit(f"{errors} requests of {name} went wrong.")
            rates.append(statistics.median(run.rate for run in runs))
        rates.append(imported.resources / imported.seconds)
        memory = ", ".join(f"{one:.0f}" for one in server.memory()[:workers])
    title = f"{database}, {workers} worker{'s' if workers > 1 else ''}"
    figures = "".join(f"{rate:9,.0f}" for rate in rates)
    return f"{title:48}{figures}{server.start_seconds:7.1f}  {memory}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", default="sqlite,postgresql", help="sqlite, postgresql, URLs")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
