"""De-identification of the sample on one and two processes: resources a second.

Run by `make bench-deid`. Processor time is told beside the clock: other work on the machine slows
the clock alone.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson

from ehr_privacy.deid import Deidentifier, load_rules

_KEY = b"k" * 32


def scrub_lines(lines: list[bytes]) -> tuple[int, float]:
    """De-identify NDJSON lines; return how many were kept, and the processor seconds it took."""
    deidentifier = Deidentifier(load_rules(), _KEY)
    started = time.process_time()
    kept = 0
    for line in lines:
        resource = deidentifier.scrub(orjson.loads(line))
        if resource is not None:
            orjson.dumps(resource)
            kept += 1
    return kept, time.process_time() - started


def main(folder: Path) -> None:
    """Print the figures for a folder of NDJSON."""
    lines = [
        line
        for path in sorted(folder.glob("*.ndjson.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    for processes in (1, 2):
        parts = [lines[number::processes] for number in range(processes)]
        started = time.perf_counter()
        with ProcessPoolExecutor(processes) as pool:
            results = list(pool.map(scrub_lines, parts))
        clock = time.perf_counter() - started
        processor = max(seconds for _, seconds in results)
        sys.stdout.write(
            f"{processes} process(es): {len(lines)} resources, {sum(k for k, _ in results)} kept, "
            f"{len(lines) / processor:,.0f}/s by processor time, {len(lines) / clock:,.0f}/s by "
            f"the clock (start-up included), load {os.getloadavg()[0]:.1f}\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/synthea-r4-bulk-47"))
