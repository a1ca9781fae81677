"""How many resources a second are validated against US Core, in processor seconds of one core.

Of the published Synthea export (US Core resources) and US Core's own examples, each against R4 and
the profiles that it names; twice, so that the profiles are compiled. `--profile` shows where the
time goes.

    .venv/bin/python -m tests.perf.bench_validation ../shared/data
"""

from __future__ import annotations

import cProfile
import gzip
import os
import pstats
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.profiles.library import ProfileLibrary
from tests.lib.us_core import read_us_core

# Of each type of the export, so many resources.
_OF_EACH = 300


def main(data: Path, *, profiled: bool) -> None:
    """Print resources per processor second."""
    us_core = read_us_core(data)
    library = us_core.library()
    samples = {
        "US Core's examples": list(us_core.examples.values()),
        "Synthea": list(_synthea(data / "synthea-r4-bulk-47")),
    }
    for name, resources in samples.items():
        _run(library, resources)
        profile = cProfile.Profile() if profiled else None
        if profile is not None:
            profile.enable()
        seconds, found = _run(library, resources)
        if profile is not None:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        rate = len(resources) / seconds
        load = os.getloadavg()[0]
        print(  # noqa: T201 - a command
            f"{name}: {len(resources)} resources, {found} findings, {seconds:.2f} processor s, "
            f"{rate:,.0f} resources per processor second; load {load:.1f}"
        )


def _run(library: ProfileLibrary, resources: list[Any]) -> tuple[float, int]:
    now, found = datetime.now(UTC), 0
    begin = time.process_time()
    for resource in resources:
        found += len(library.validate(resource, now=now))
    return time.process_time() - begin, found


def _synthea(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.glob("*.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        for line in lines[:: max(1, len(lines) // _OF_EACH)]:
            yield parse(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), profiled="--profile" in sys.argv)
