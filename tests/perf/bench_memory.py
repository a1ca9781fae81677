"""What `ehr load` takes in memory: `make bench-memory`.

Loads a file of the bench's records and one four times as large, each with `ehr load` in a process
of its own, and prints the peak of its resident memory, with and without the pages of files
that it has mapped (the database's, which the system takes back at need), and of its largest worker
process. A load that streams takes the same for both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.perf.gateway.bundles import sample
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import family
from tests.perf.generator import copies_of

SIZES = (1, 4)
_EHR = Path(sys.executable).with_name("ehr")


def main() -> None:
    """Print a row for each size."""
    rows = ["  resources  MiB of file  seconds  peak MiB  without files  largest worker"]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "records.ndjson")
            resources = _write(source, size)
            start = time.monotonic()
            process = subprocess.Popen(
                [str(_EHR), "load", str(source), "--data", str(Path(folder, "data"))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            peaks = _watch(process)
            if process.returncode:
                raise SystemExit(f"ehr load ended with {process.returncode}.")
            own = peaks.pop(process.pid)
            largest = max((one.resident for one in peaks.values()), default=0)
            rows.append(
                f"{resources:11,}{source.stat().st_size / 2**20:13.1f}"
                f"{time.monotonic() - start:9.1f}{own.resident:10.0f}{own.private:15.0f}"
                f"{largest:16.0f}"
            )
    sys.stdout.write("\n".join(rows) + "\n")
    publish("bench-memory", "\n".join(rows))


def _write(path: Path, size: int) -> int:
    data = sample()
    lines = [orjson.dumps(entry["resource"]) for entry in orjson.loads(data.seed)["entry"]]
    lines += [orjson.dumps(one) for record in data.records for one in record]
    with path.open("wb") as out:
        count = 0
        for copy in copies_of(lines, size):
            out.writelines(line + b"\n" for line in copy)
            count += len(copy)
    return count


@dataclass
class _Peak:
    """The most that one process took, in MiB."""

    resident: float = 0
    private: float = 0


def _watch(process: subprocess.Popen[bytes]) -> dict[int, _Peak]:
    """Wait for a process; return the peak of its memory and of each that descends from it."""
    peaks: dict[int, _Peak] = defaultdict(_Peak)
    while process.poll() is None:
        for pid in family(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            kib = {name: text.split()[0] for name, _, text in _fields(status) if "kB" in text}
            if kib:
                peak = peaks[pid]
                peak.resident = max(peak.resident, int(kib["VmRSS"]) / 1024)
                peak.private = max(peak.private, int(kib["RssAnon"]) / 1024)
        time.sleep(0.05)
    return peaks


def _fields(status: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in status.splitlines()]


if __name__ == "__main__":
    main()
