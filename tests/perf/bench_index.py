"""What indexing a resource costs: `python -m tests.perf.bench_index [FOLDER]`.

Microseconds of processor time for each resource type, best of several rounds: parsing its JSON, and
working out its index rows. FOLDER is a folder of NDJSON; the sample of the demo by default.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ehr_cli.sample.overlay import write_sample
from ehr_fhir.index.rows import extract_rows
from ehr_fhir.json_text import parse

ROUNDS = 5
MOST = 1000  # of one type


def main() -> None:
    """Print a row for each type and one for all."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        if len(sys.argv) == 1:
            write_sample(folder)
        lines: dict[str, list[bytes]] = defaultdict(list)
        for path in sorted(folder.iterdir()):
            if ".ndjson" in path.name:
                lines[path.name.split(".")[0]] += list(_lines(path))[:MOST]
    sys.stdout.write("type                      resources  rows each  parse us  index us\n")
    every = [line for some in lines.values() for line in some]
    for kind, some in (*lines.items(), ("all", every)):
        resources = [parse(line) for line in some]
        rows = sum(len(extract_rows(one)) for one in resources) / len(resources)
        sys.stdout.write(
            f"{kind:<25} {len(some):>9} {rows:>10.1f} {_each(parse, some):>9.1f}"
            f" {_each(extract_rows, resources):>9.1f}\n"
        )


def _lines(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield from (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()


def _each(function: Callable[[Any], object], values: list[Any]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for value in values:
            function(value)
        best = min(best, time.process_time() - start)
    return best / len(values) * 1e6


if __name__ == "__main__":
    main()
