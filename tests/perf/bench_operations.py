"""What each operation takes over HTTP: `make bench-operations SIZE=10000 DATABASES=sqlite`.

The calls are the examples of the operations' own pages, so a new operation is measured without a
line here: each is called by the first of the cast whom it answers, in a store of many people in
which the cast of the tests has its records besides. The server answers on a port of this machine,
in a thread of this process. What changes something comes after what reads; an example that needs
what nobody has asked for here (a code by e-mail, a request to decide) is refused and listed as not
measured.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn

from ehr_gateway.operations.declaration import Operation
from ehr_gateway.operations.registry import OPERATIONS
from tests.docs.operation_pages import page_of
from tests.lib.gateway import House, observation, restriction
from tests.lib.ports import free_port
from tests.perf.gateway.pages import publish
from tests.perf.gateway.postgres import scratch_database
from tests.perf.generator import fill

RESULT = Path(__file__).with_name("results") / "operations.json"
CHECKPOINT_SECONDS = 2
MOST_RUNS, LEAST_RUNS, OPERATION_SECONDS = 200, 10, 3
# Whom a call is tried with, in this order.
PEOPLE = ("doctor.a", "p.pat-1", "steward", "admin", "auditor", "researcher")
ORGANIZATIONS = ("hospital-a", "ehr-commons")
# What takes away what others are measured with.
LAST = ("hold", "merge", "meta-delete", "move", "purge", "suspend", "withdraw")
# What is asked for and made later (FHIR's asynchronous pattern).
ASYNCHRONOUS = ("export", "viewdefinition-export")


@dataclass(frozen=True)
class Example:
    """The call that a page shows."""

    operation: Operation
    method: str
    path: str
    body: bytes


@dataclass(frozen=True)
class Measured:
    """What a call took in milliseconds, each time, and who made it; or the status of a refusal."""

    name: str
    caller: str
    took: tuple[float, ...]
    status: int

    def to_json(self, database: str, resources: int) -> dict[str, Any]:
        """Return p50 and p99 as a line of the results."""
        return {
            "database": database,
            "resources": resources,
            "operation": self.name,
            "caller": self.caller,
            "runs": len(self.took),
            "p50_ms": statistics.median(self.took),
            "p99_ms": sorted(self.took)[min(len(self.took) - 1, int(len(self.took) * 0.99))],
        }


def main() -> None:
    """Fill a store on each database, call every operation, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--reads-only", action="store_true")
    asked = parser.parse_args()
    for database in asked.databases.split(","):
        measured, refused = _measure_all(database, asked.size, reads_only=asked.reads_only)
        # Those of other stores stay.
        kept = [
            one
            for one in _read_results()
            if (one["database"], one["size"]) != (database, asked.size)
        ]
        found = [*kept, *measured]
        RESULT.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
        _say(f"not measured: {refused}")
    publish("bench-operations", _table(_read_results()))


def _measure_all(database: str, size: int, *, reads_only: bool) -> tuple[list[dict[str, Any]], str]:
    """Measure every operation on one store; return its lines, and what was refused."""
    found, refused = [], []
    with _served(database, size) as (base, callers, resources):
        _say(f"{database}: {resources:,} resources, load {os.getloadavg()[0]:.1f}")
        for example in _examples(reads_only=reads_only):
            measured = _measure(base, callers, example)
            if measured.took:
                line = measured.to_json(database, resources)
                found.append({**line, "size": size, "load": round(os.getloadavg()[0], 1)})
                _say(f"  ${measured.name:24}{line['p50_ms']:9.1f}{line['p99_ms']:9.1f} ms")
            else:
                refused.append(f"${measured.name} ({measured.status})")
    return found, ", ".join(refused)


def _read_results() -> list[dict[str, Any]]:
    if not RESULT.exists():
        return []
    found: list[dict[str, Any]] = orjson.loads(RESULT.read_bytes())
    return found


def _examples(*, reads_only: bool) -> Iterator[Example]:
    """Yield the example of each page: first what reads, last what takes something away."""
    declared = [registered.declaration for registered in OPERATIONS]
    declared.sort(key=lambda one: (one.affects_state, one.name in LAST, one.name))
    for operation in declared:
        if reads_only and operation.affects_state:
            continue
        page = page_of(operation).read_text("utf-8")
        (call,) = re.findall(r"^```http\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        request, _, body = call.strip().partition("\n")
        method, path = request.split(" ", 1)
        yield Example(operation, method, path, body.strip().encode())


@contextmanager
def _served(database: str, size: int) -> Iterator[tuple[str, dict[str, str], int]]:
    """Serve a filled store; yield its address, a token of each caller, and how large it is."""
    with tempfile.TemporaryDirectory() as folder:
        if database == "sqlite":
            with _serving(Path(folder, "data"), size) as served:
                yield served
            return
        with (
            scratch_database(database) as url,
            _serving(Path(folder, "data"), size, database_url=url) as served,
        ):
            yield served


@contextmanager
def _serving(data: Path, size: int, **settings: Any) -> Iterator[tuple[str, dict[str, str], int]]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    house = House(
        data,
        address=base,
        clock=lambda: time.time_ns() // 1_000_000,
        audit_checkpoint_seconds=CHECKPOINT_SECONDS,
        **settings,
    )
    resources = fill(house.gateway.store, size)
    house.invite()
    house.furnish()
    house.share()
    _add_what_examples_name(house)
    callers = {name: house.token(name) for name in PEOPLE}
    for name in ORGANIZATIONS:
        session = house.system(name)
        callers[f"system of {name}"] = session.headers["Authorization"].removeprefix("Bearer ")
    config = uvicorn.Config(house.app, port=port, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield base, callers, resources
    finally:
        server.should_exit = True
        thread.join(30)
        house.gateway.store.close()


def _add_what_examples_name(house: House) -> None:
    """Add the versions, documents, tables and choices that the pages' examples name."""
    hospital = house.system("hospital-a")
    hospital.put({**observation("lab-1", "laboratory"), "status": "amended"})
    hospital.store(
        {
            "resourceType": "Composition",
            "id": "doc",
            "status": "final",
            "type": {"text": "Discharge summary"},
            "subject": {"reference": "Patient/pat-1"},
            "date": "2026-01-09",
            "author": [{"reference": "Organization/hospital-a"}],
            "title": "Discharge summary",
        }
    )
    house.system("ehr-commons").store(
        {
            "resourceType": "CodeSystem",
            "id": "animals",
            "url": "http://example.org/animals",
            "status": "active",
            "content": "complete",
            "concept": [{"code": "animal", "concept": [{"code": "cat"}]}],
        }
    )
    table = [{"name": "name", "valueString": "problems"}]
    hospital.post("$closure", {"resourceType": "Parameters", "parameter": table})
    house.login("p.pat-1").store(restriction("close-1", record="Observation/lab-2"))


def _measure(base: str, callers: dict[str, str], example: Example) -> Measured:
    """Call an example as the first whom it answers, for a while."""
    status = 0
    with httpx.Client(timeout=60) as client:
        for caller, token in callers.items():
            headers = {"Authorization": f"Bearer {token}"}
            if example.operation.name in ASYNCHRONOUS:
                headers["Prefer"] = "respond-async"
            if example.body:
                headers["Content-Type"] = "application/fhir+json"
            start = time.perf_counter()
            answer = _call(client, base, example, headers)
            took = (time.perf_counter() - start) * 1000
            # The most telling refusal: of whoever may call it.
            status = answer.status_code if answer.status_code != 403 else status or 403
            if answer.is_success:
                times = [took, *_repeat(client, base, example, headers)]
                # The first call of all warms up; what can be called once has no other.
                return Measured(
                    example.operation.name, caller, tuple(times[1:] or times), answer.status_code
                )
    return Measured(example.operation.name, "", (), status)


def _repeat(
    client: httpx.Client, base: str, example: Example, headers: dict[str, str]
) -> Iterator[float]:
    end = time.monotonic() + OPERATION_SECONDS
    for run in range(MOST_RUNS):
        if run >= LEAST_RUNS and time.monotonic() > end:
            return
        start = time.perf_counter()
        answer = _call(client, base, example, headers)
        took = (time.perf_counter() - start) * 1000
        if not answer.is_success:
            return
        yield took


def _call(
    client: httpx.Client, base: str, example: Example, headers: dict[str, str]
) -> httpx.Response:
    return client.request(
        example.method, f"{base}{example.path}", content=example.body, headers=headers
    )


def _table(found: Sequence[dict[str, Any]]) -> str:
    """Return a line for each operation, with p50 / p99 in ms for each store."""
    stores = sorted({(one["size"], one["database"]) for one in found}, key=str)
    titles = "".join(f"{database} {size:,}".rjust(22) for size, database in stores)
    lines = [f"p50 / p99 ms{'':14}{titles}"]
    for name in sorted({one["operation"] for one in found}):
        cells = []
        for store in stores:
            line = next(
                (
                    one
                    for one in found
                    if (one["size"], one["database"]) == store and one["operation"] == name
                ),
                None,
            )
            text = "" if line is None else f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}"
            cells.append(text.rjust(22))
        lines.append(f"${name:25}{''.join(cells)}")
    return "\n".join(lines)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
