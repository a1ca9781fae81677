"""The gateway beside a reference server, in one run: `make bench-gateway`.

Both start empty, get the same directory and the same 16 Bundles, and are asked the same in turns,
so that a noisy machine disturbs both. Rates are medians of the rounds; every answer's status is
checked, and that a search finds something. What helios-hfs does not do at all (log-in, consent,
audit, a change feed) the gateway does for every request of this.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.perf.gateway import hfs, workload
from tests.perf.gateway.bundles import BUNDLES, Sample, sample
from tests.perf.gateway.k6 import play
from tests.perf.gateway.pages import publish
from tests.perf.gateway.queries import queries
from tests.perf.gateway.servers import Server, earlier, helios, ours
from tests.perf.gateway.wrk import Result, press, require

RESULTS = Path(__file__).with_name("results")
# name -> title, unit, and how many times the reference's rate is aimed at.
AIMS: dict[str, tuple[str, str, float | None]] = {
    "create": ("create Patient, 8 connections", "req/s", 2),
    "read": ("read Patient, 8", "req/s", 0.5),
    "search": ("search Observation by patient and code, 8", "req/s", 1),
    "update": ("update Patient, 8", "req/s", 3),
    "import": ("import of transaction Bundles, 2 at a time", "resources/s", 2),
    "crud": ("create, read, update, delete of nine types, 8", "req/s", None),
    "searches": ("searches of seven kinds, 8", "req/s", None),
}
CRUD_TYPES = (
    *("Patient", "Encounter", "Condition", "Observation", "Procedure"),
    *("MedicationRequest", "Immunization", "AllergyIntolerance", "DiagnosticReport"),
)
MOST_MEMORY_MIB, MOST_START_S = 250, 3
_READS = ("create", "read", "search", "update")


@dataclass
class Figures:
    """What was measured of one server."""

    start_seconds: float
    rates: dict[str, list[float]] = field(default_factory=dict)
    p50_ms: dict[str, list[float]] = field(default_factory=dict)
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    memory_mib: list[float] = field(default_factory=list)

    def add(self, name: str, result: Result) -> None:
        """Take in one run."""
        self.rates.setdefault(name, []).append(result.rate)
        self.p50_ms.setdefault(name, []).append(result.p50_ms)
        self.p99_ms.setdefault(name, []).append(result.p99_ms)
        self.errors[name] = self.errors.get(name, 0) + result.errors

    def rate(self, name: str) -> float:
        """Return the median rate of a measurement."""
        return statistics.median(self.rates[name])


def main() -> None:
    """Measure, print the table, write the figures."""
    asked = _arguments()
    require()
    reference = None if asked.alone or asked.against else hfs.program()
    data = sample()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ours(folder, asked.workers, asked.database) as gateway:
            if asked.against:
                with earlier(asked.against, folder, asked.workers, asked.database) as before:
                    figures = _measure([gateway, before], data, asked)
                sys.stdout.write(_comparison(figures["ours"], figures["earlier"]))
                return
            if reference is None:
                figures = _measure([gateway], data, asked)
            else:
                with helios(folder, reference) as other:
                    figures = _measure([gateway, other], data, asked)
    facts = {**_facts(), **vars(asked), "total_seconds": round(time.monotonic() - start)}
    kind = "postgresql" if asked.database else "sqlite"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"gateway-{kind}.json").write_bytes(
        orjson.dumps({"run": facts, "servers": figures}, option=orjson.OPT_INDENT_2) + b"\n"
    )
    table = _table(figures)
    sys.stdout.write(f"{table}\n{facts['total_seconds']} s\n")
    publish(f"bench-gateway {kind}", f"{_heading(asked)}\n{table}")


def _heading(asked: argparse.Namespace) -> str:
    database = "PostgreSQL" if asked.database else "SQLite"
    return f"{asked.rounds} rounds of {asked.seconds:g} s, {asked.workers} workers on {database}"


def _measure(servers: list[Server], data: Sample, asked: argparse.Namespace) -> dict[str, Figures]:
    figures = {server.name: Figures(server.start_seconds) for server in servers}
    runs = {}
    for server in servers:
        workload.seed(server, data)
        imported = _import(server, data, figures)
        if imported.errors:
            raise SystemExit(f"{server.name} refused {imported.errors} of {BUNDLES} Bundles.")
        runs[server.name] = _runs(server, data, imported, asked.seconds)
    names = list(next(iter(runs.values())))
    for number in range(asked.rounds):
        for name in names:
            # In turns, and each first as often as second.
            for server in servers if number % 2 == 0 else servers[::-1]:
                sys.stderr.write(f"{number + 1}/{asked.rounds} {name} {server.name}\n")
                figures[server.name].add(name, runs[server.name][name](figures[server.name]))
        if number + 1 < asked.rounds:
            for server in servers if number % 2 else servers[::-1]:
                _import(server, data, figures)
    for server in servers:
        figures[server.name].memory_mib = server.memory()
    return figures


def _import(server: Server, data: Sample, figures: dict[str, Figures]) -> workload.Imported:
    sys.stderr.write(f"import {server.name}\n")
    imported = workload.import_bundles(server, data)
    rates = figures[server.name].rates.setdefault("import", [])
    rates.append(imported.resources / imported.seconds)
    errors = figures[server.name].errors
    errors["import"] = errors.get("import", 0) + imported.errors
    return imported


Run = Callable[[Figures], Result]


def _runs(
    server: Server, data: Sample, imported: workload.Imported, seconds: float
) -> dict[str, Run]:
    loads = {
        "create": workload.creates(data),
        "read": workload.reads(imported),
        "search": workload.searches(data, imported),
        "update": workload.updates(server, data),
    }
    templates = workload.templates(data, imported, CRUD_TYPES)
    asked = queries(data, imported.names)
    runs: dict[str, Run] = {
        name: lambda _, load=load: press(server, load, seconds)  # type: ignore[misc]
        for name, load in loads.items()
    }
    runs["crud"] = lambda _: _result(play(server, "crud", templates, seconds))
    runs["searches"] = lambda figures: _searches(figures, play(server, "search", asked, seconds))
    return runs


def _searches(figures: Figures, played: dict[str, Any]) -> Result:
    for kind, of_kind in played["kinds"].items():
        figures.kinds.setdefault(kind, []).append(of_kind)
    return _result(played)


def _result(played: dict[str, Any]) -> Result:
    return Result(*(played[name] for name in ("requests", "seconds", "p50_ms", "p99_ms", "errors")))


def _table(figures: dict[str, Figures]) -> str:
    lines = [f"{'':48}{'ours':>9}{'helios':>9}{'ratio':>7}{'aim':>6}  errors"]
    mine, other = figures["ours"], figures.get("helios")
    for name, (title, unit, aim) in AIMS.items():
        theirs = other.rate(name) if other else None
        ratio = mine.rate(name) / theirs if theirs else None
        errors = [str(one.errors[name]) for one in figures.values()]
        lines.append(
            f"{title:48}{mine.rate(name):9,.0f}{_number(theirs, '9,.0f')}"
            f"{_number(ratio, '7.2f')}{_number(aim, '6.1f')}  {' / '.join(errors)}  {unit}"
        )
    for kind, runs in mine.kinds.items():
        theirs_of = other.kinds.get(kind) if other else None
        lines.append(
            f"  {kind + ', p50 / p99 ms':46}{_latency(runs):>12}"
            f"{_latency(theirs_of) if theirs_of else '':>14}  "
            f"{' / '.join(str(_errors(one.kinds.get(kind, []))) for one in figures.values())}"
        )
    lines.append(f"memory of each process, MiB (aim {MOST_MEMORY_MIB} a worker)")
    lines += [f"  {name}: {_list(one.memory_mib)}" for name, one in figures.items()]
    lines.append(f"seconds to the first answer (aim {MOST_START_S})")
    lines += [f"  {name}: {one.start_seconds:.1f}" for name, one in figures.items()]
    return "\n".join(lines)


def _comparison(mine: Figures, other: Figures) -> str:
    """Return, by row, the median ratio of ours to the earlier one, with its 95 % interval.

    Rounds are pairs: each ratio is of two runs one after the other. The interval is the
    bootstrap's, of the median.
    """
    lines = [f"{'':48}{'ours':>9}{'earlier':>9}{'ratio':>7}{'interval':>15}  errors"]
    for name, (title, unit, _) in AIMS.items():
        ratios = [a / b for a, b in zip(mine.rates[name], other.rates[name], strict=True)]
        draw = random.Random(0)
        medians = sorted(
            statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000)
        )
        interval = f"{medians[49]:.2f} to {medians[1949]:.2f}"
        lines.append(
            f"{title:48}{mine.rate(name):9,.0f}{other.rate(name):9,.0f}"
            f"{statistics.median(ratios):7.2f}{interval:>15}"
            f"  {mine.errors[name]} / {other.errors[name]}  {unit}"
        )
    memory = (f"{one.memory_mib[0]:.0f} MiB" for one in (mine, other))
    lines.append(f"memory of the largest process: {' / '.join(memory)}")
    return "\n".join(lines) + "\n"


def _latency(runs: list[dict[str, float]]) -> str:
    medians = (statistics.median(one[name] for one in runs) for name in ("p50_ms", "p99_ms"))
    return " / ".join(f"{median:.1f}" for median in medians)


def _errors(runs: list[dict[str, float]]) -> int:
    return round(sum(one["errors"] for one in runs))


def _number(value: float | None, form: str) -> str:
    return (
        format("-", f">{form.partition(',')[0].partition('.')[0]}")
        if value is None
        else (format(value, form))
    )


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _facts() -> dict[str, object]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cpus": os.cpu_count(),
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.processor(),
        "load_before": [round(one, 1) for one in os.getloadavg()],
        "python": platform.python_version(),
        "reference": f"helios-hfs {hfs.VERSION}",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--database", help="of the gateway; SQLite when not given")
    parser.add_argument("--alone", action="store_true", help="without the reference server")
    parser.add_argument(
        "--against", type=Path, help="another checkout, in the place of the reference server"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
