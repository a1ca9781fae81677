"""How fast the audit log is verified: `python -m tests.perf.bench_audit --sizes 1M,3M,10M`.

Makes logs of synthetic events, each signed for, and verifies them whole: every row read, hashed and
held against its leaf, its tile and the signed root. Beside it stands bare SHA-256 over as many
bytes as the rows have, in the same run, so that the figures of two machines can be compared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from ehr_gateway.audit_log.checkpoints import sign_checkpoint
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.verify import VerifyReport, VerifyTask, verify_log
from ehr_gateway.database import create_tables, open_database
from ehr_gateway.schema import audit_log
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import Signer, inclusion_proof, row_leaf

_SIGNER = Signer("ehr-commons.hk/audit", bytes(32))
_START = 1_795_334_400_000
_BATCH = 50_000
_UNITS = {"k": 1_000, "M": 1_000_000}


@dataclass(frozen=True)
class Figure:
    """What one size took."""

    events: int
    wall: float
    cpu: float
    bare: float
    sign: float
    proof_ms: float

    def __str__(self) -> str:
        return (
            f"| {self.events:>10,} | {self.wall:6.1f} | {self.cpu:6.1f} | {self.bare:6.2f} |"
            f" {self.cpu / self.bare:5.1f} | {self.events / self.wall:>9,.0f} |"
            f" {self.sign:6.1f} | {self.proof_ms:5.2f} |"
        )


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1M,3M,10M")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    chosen = parser.parse_args()
    _say(f"Load before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, SQLite.")
    _say("|     events | wall s |  cpu s | bare s | ratio | a second  | sign s | proof ms |")
    place = Path(tempfile.mkdtemp(dir=chosen.folder))
    try:
        for size in sorted(_number(text) for text in chosen.sizes.split(",")):
            _say(str(_measured(place, size, chosen.processes)))
    finally:
        shutil.rmtree(place)


def _measured(place: Path, size: int, processes: int) -> Figure:
    """Grow the log to a size, sign for it, verify it."""
    path, folder = place / "ehr.db", LogFolder(place / "audit-log")
    database = open_database(path)
    create_tables(database, audit_log.METADATA)
    _grow(path, size)
    begin = time.monotonic()
    sign_checkpoint(database, folder, _SIGNER, lambda: _START)
    sign = time.monotonic() - begin
    database.close()
    wall, cpu = time.monotonic(), _cpu()
    report = verify_log(
        VerifyTask(path, folder.path, _SIGNER.name, _SIGNER.public, processes=processes)
    )
    wall, cpu = time.monotonic() - wall, _cpu() - cpu
    _demand(report, size)
    return Figure(size, wall, cpu, _bare(size), sign, _proof(folder, size))


def _demand(report: VerifyReport, size: int) -> None:
    if not report.is_intact or report.signed != size or report.events != size:
        raise SystemExit(f"The log does not verify: {report.findings[:3]}")


def _grow(path: Path, size: int) -> None:
    """Add rows as the gateway writes them; past its functions, whose time is not measured here."""
    names = f"{', '.join(CONTENT_COLUMNS)}, salt, leaf"
    marks = ", ".join("?" * (len(CONTENT_COLUMNS) + 2))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    there = connection.execute("SELECT count(*) FROM audit").fetchone()[0]
    rows = (_sealed(number) for number in range(there, size))
    while some := list(itertools.islice(rows, _BATCH)):
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO audit ({names}) VALUES ({marks})", some)
        connection.execute("COMMIT")
    connection.close()


def _event(number: int) -> tuple[str | int | None, ...]:
    patient = f"patient-{number * 7919 % 100_000:06}-aaaa-bbbb-cccc"
    entities = orjson.dumps(
        [f"Observation/{number:08}-{k}-4c1b-8f0e-1f2e3d4c5b6a" for k in range(number % 4 + 1)]
    ).decode()
    return (
        f"{number:032x}", _START + number, f"{number:032x}", f"dr.{number % 997}",
        "Dr CHAN Tai Man", "clinician", "ha-harbour", "TREAT", "portal", "10.0.0.7",
        "search-type", patient, entities, "laboratory", "Observation?patient&code", "0",
        "shared", None,
    )  # fmt: skip


def _sealed(number: int) -> tuple[str | int | bytes | None, ...]:
    values, salt = _event(number), os.urandom(16)
    return (*values, salt, row_leaf(salt, values))


def _bare(size: int) -> float:
    """Return the processor time of SHA-256 alone: a row, a leaf and a node for each event."""
    sample = [orjson.dumps(_event(number)) for number in range(1000)]
    leaf, node = bytes(33), bytes(65)
    begin = time.process_time()
    for _ in range(20):
        for row in sample:
            sha256(row).digest()
            sha256(leaf).digest()
            sha256(node).digest()
    return (time.process_time() - begin) / (20 * len(sample)) * size


def _proof(folder: LogFolder, size: int) -> float:
    begin, rounds = time.perf_counter(), 20
    for number in range(rounds):
        inclusion_proof(folder.tree_reader(size).node, number * 104_729 % size, size)
    return (time.perf_counter() - begin) / rounds * 1000


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def _number(text: str) -> int:
    return int(float(text[:-1]) * _UNITS[text[-1]]) if text[-1] in _UNITS else int(text)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
