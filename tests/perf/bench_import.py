"""How fast `$import` is beside `ehr load`: `python -m tests.perf.bench_import [RESOURCES]`.

Made-up patients and results, sent to a server of its own (`ehr up`, SQLite) in one request, and
loaded by `ehr load` into another folder, one after the other. The ratio says what the way over HTTP
costs: receiving, writing and reading the files, and keeping how far the import is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.integration.faults.server import serving

_RESULTS_OF_PATIENT = 49
_PATIENCE_SECONDS = 3600


def main() -> None:
    """Print both rates and their ratio."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        source.mkdir()
        for kind in ("Patient", "Observation"):
            lines = b"".join(json.dumps(one).encode() + b"\n" for one in _make(kind, count))
            (source / f"{kind}.ndjson").write_bytes(lines)
        over_http = _import(Path(scratch), source)
        loaded = _load(Path(scratch), source)
    rates = [count / seconds for seconds in (over_http, loaded)]
    sys.stdout.write(
        f"{count:,} resources: $import {rates[0]:,.0f} a second, ehr load {rates[1]:,.0f},"
        f" ratio {rates[0] / rates[1]:.2f}\n"
    )


def _import(scratch: Path, source: Path) -> float:
    """Return how long an import took, from the first byte sent to the answer that it is done."""
    with serving(scratch / "served") as served:
        start = time.monotonic()
        files = [
            (kind, (f"{kind}.ndjson", (source / f"{kind}.ndjson").read_bytes()))
            for kind in ("Patient", "Observation")
        ]
        answer = httpx.post(
            f"{served.base}/fhir/$import", files=files, timeout=_PATIENCE_SECONDS,
            headers={**served.headers, "Prefer": "respond-async"},
        )  # fmt: skip
        path = urlsplit(answer.headers["content-location"]).path
        while (status := served.get(path)).status_code == 202:
            time.sleep(0.2)
        seconds = time.monotonic() - start
        assert status.status_code == 200, status.text
        assert not status.json()["error"]
        return seconds


def _load(scratch: Path, source: Path) -> float:
    command = [sys.executable, "-m", "ehr_cli.main", "load", str(source)]
    start = time.monotonic()
    subprocess.run(
        [*command, "--data", str(scratch / "loaded")], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - start


def _make(kind: str, count: int) -> Iterator[dict[str, Any]]:
    patients = count // (_RESULTS_OF_PATIENT + 1)
    if kind == "Patient":
        for number in range(patients):
            yield {"resourceType": kind, "id": f"p-{number}", "name": [{"text": f"Made {number}"}]}
        return
    for number in range(count - patients):
        yield {
            "resourceType": kind,
            "id": f"o-{number}",
            "status": "final",
            "category": [{"text": "laboratory"}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
            "subject": {"reference": f"Patient/p-{number % patients}"},
            "effectiveDateTime": "2026-01-01T08:00:00Z",
            "valueQuantity": {"value": number % 70 / 10, "unit": "g/dL"},
        }


if __name__ == "__main__":
    main()
