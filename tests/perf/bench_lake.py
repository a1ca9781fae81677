"""What a change costs the lake: `python -m tests.perf.bench_lake [SIZES]`, as `5000,20000`.

Processor seconds of this process and of Spark's, and bytes written, for each size of a lake: the
first build, one changed record while the writer runs, nothing changed, and an opt-out of one of its
patients. Processor seconds, because others use the machine too. The quality gate is left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_etl.spark.session import SparkSettings, spark_session
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

SIZES = (5_000, 20_000, 80_000)
ROUNDS = 5
RECORDS_PER_PATIENT = 200
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
    """Print a table of the sizes."""
    sizes = [int(size) for size in sys.argv[1].split(",")] if len(sys.argv) > 1 else SIZES
    with tempfile.TemporaryDirectory() as scratch:
        spark = spark_session(Path(scratch) / "spark", SparkSettings("local[2]", "3g"))
        sys.stdout.write(
            "records  build s  changed s  changed MB  nothing s  nothing B  opt-out s  opt-out MB\n"
        )
        for size in sizes:
            _measure(spark, Path(scratch) / str(size), size)
        spark.stop()


def _measure(spark: Any, folder: Path, size: int) -> None:
    people = [f"p{number}" for number in range(max(1, size // RECORDS_PER_PATIENT))]
    lines = [feed_line(number, one) for number, one in enumerate(_records(people, size), 1)]
    joined = decision_lines([consent(person, "joining") for person in people])
    lake = Lake(folder)
    with LakeWriter(lake, KEY, lambda: spark) as writer:

        def bring_up(new: list[bytes]) -> Callable[[], object]:
            def work() -> None:
                writer.take_in(Lines(new))
                writer.bring_up(NOW_MS)

            return work

        build, _ = _cost(lake, bring_up([*lines, *joined]))
        changed = [_cost(lake, bring_up([_changed(size, n, people)])) for n in range(1, ROUNDS + 2)]
        nothing = [_cost(lake, bring_up([])) for _ in range(ROUNDS)]
        numbers = (len(joined) + 1 + number for number in range(ROUNDS))
        opted_out = [
            _cost(lake, bring_up(_opt_out(person, number)))
            for person, number in zip(people, numbers, strict=False)
        ]
    # The first one compiles Spark's code.
    columns = (min(changed[1:]), min(nothing), min(opted_out))
    (one, one_bytes), (none, none_bytes), (out, out_bytes) = columns
    sys.stdout.write(
        f"{size:7,}  {build:7.1f}  {one:9.2f}  {one_bytes / 1e6:10.2f}  {none:9.2f}"
        f"  {none_bytes:9,}  {out:9.2f}  {out_bytes / 1e6:10.2f}\n"
    )
    sys.stdout.flush()


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
    """Return those of this process and of all that it started."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    waiting, total = [os.getpid()], 0.0
    while waiting:
        process = waiting.pop()
        total += used.get(process, 0)
        waiting += children.get(process, [])
    return total


if __name__ == "__main__":
    started = time.monotonic()
    main()
    sys.stdout.write(f"{time.monotonic() - started:.0f} s in all.\n")
