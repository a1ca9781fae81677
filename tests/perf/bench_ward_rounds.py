"""Time to work out the rounds of a made-up ward: `python -m tests.perf.bench_ward_rounds [STAYS]`.

From the four tables to the frame with every feature, NEWS2 and the outcome, on two threads. Prints
the wall clock, the CPU, the memory and the load of the machine. Not a test.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

from ehr_models.ward.rounds import build_rounds
from ehr_models.ward.simulation import simulate_ward


def main() -> None:
    """Build the frame once and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stays", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tables = simulate_ward(options.stays, options.seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    wall, cpu = time.perf_counter(), time.process_time()
    rows = build_rounds(tables).rows
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(  # noqa: T201
        f"{options.stays} stays, {tables.measurements.num_rows} measurements: {len(rows)} rounds in"
        f" {wall:.1f} s, CPU {cpu:.1f} s, load {os.getloadavg()[0]:.1f};"
        f" {before} MB before, at most {most} MB"
    )


if __name__ == "__main__":
    main()
