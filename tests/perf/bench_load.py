"""How fast `ehr load` is: `python -m tests.perf.bench_load [FOLDER]`.

Loads a quarter, a half and the whole of a bulk export into a new store and prints resources a
second beside the reference of the same run: validation alone, by the models of fhir.resources, of
the same lines in as many processes. The ratio says what all the rest costs (index, consent facts,
reference checks, the store). FOLDER is a folder of NDJSON; the sample of the demo by default.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import orjson
from fhir.resources.R4B import get_fhir_model_class

from ehr_cli.sample.overlay import write_sample
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load

WORKERS = os.cpu_count() or 1
CHUNK = 500
_PATIENT = re.compile(rb'"Patient/([^"/]+)"')


def validate(lines: list[bytes]) -> int:
    """Validate lines and do nothing else; the reference."""
    for line in lines:
        resource = orjson.loads(line)
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return len(lines)


def main() -> None:
    """Print a row for each size."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        if len(sys.argv) > 1:
            source = Path(sys.argv[1])
        else:
            source.mkdir()
            write_sample(source)
        files = {path.name.split(".")[0]: list(_lines(path)) for path in sorted(source.iterdir())}
        _say("resources  load/s  validation alone/s  ratio")
        for share in (4, 2, 1):
            _say(_row(_people(files, share), Path(scratch)))


def _people(files: dict[str, list[bytes]], share: int) -> dict[str, list[bytes]]:
    """Keep every so many patients with all that is theirs, and the whole directory."""
    ids = [orjson.loads(line)["id"].encode() for line in files["Patient"]]
    gone = set(ids) - set(ids[::share])
    return {
        kind: [line for line in lines if not gone.intersection(_patients(kind, line))]
        for kind, lines in files.items()
    }


def _patients(kind: str, line: bytes) -> list[bytes]:
    own = [orjson.loads(line)["id"].encode()] if kind == "Patient" else []
    return own + _PATIENT.findall(line)


def _row(files: dict[str, list[bytes]], scratch: Path) -> str:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        part = Path(folder, "part")
        part.mkdir()
        for kind, lines in files.items():
            (part / f"{kind}.ndjson").write_bytes(b"\n".join(lines))
        store = Store(Path(folder, "store", "ehr.db"))
        report = load(store, [part])
        store.close()
    judged = report.accepted + report.rejected
    reference = _reference([line for lines in files.values() for line in lines])
    rate = judged / report.seconds
    return f"{judged:9,}  {rate:6,.0f}  {reference:18,.0f}  {rate / reference:5.2f}"


def _reference(lines: list[bytes]) -> float:
    chunks = [lines[start : start + CHUNK] for start in range(0, len(lines), CHUNK)]
    start = time.monotonic()
    with ProcessPoolExecutor(WORKERS, get_context("forkserver")) as pool:
        done = sum(pool.map(validate, chunks))
    return done / (time.monotonic() - start)


def _lines(path: Path) -> Iterator[bytes]:
    opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    with opened as content:
        yield from (line.rstrip(b"\n") for line in content if line.strip())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
