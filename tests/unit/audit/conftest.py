"""A log with signed checkpoints on each database, and what an intruder can do to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.audit_log.checkpoints import sign_checkpoint
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.verify import VerifyReport, VerifyTask, verify_log
from ehr_gateway.database import Connection, Database, create_tables, open_database
from ehr_gateway.schema import audit_log
from ehr_privacy.audit import Checkpoint, Signer
from tests.lib.audit_writers import NOW, event

SIGNER = Signer("ehr-commons.hk/audit", bytes(32))


@dataclass
class Log:
    """A log under test."""

    place: Path | str
    database: Database
    folder: LogFolder

    def add(self, count: int) -> None:
        """Append events, as many requests of one transaction would."""
        with self.database.write_transaction() as connection:
            there = size(connection)
            append_rows(connection, seal_rows(event(there + n) for n in range(count)))

    def sign(self) -> Checkpoint:
        """Make a checkpoint."""
        found = sign_checkpoint(self.database, self.folder, SIGNER, lambda: NOW)
        assert found is not None
        return found

    def change(self, sql: str, *values: Any) -> None:
        """Do what only the database's owner could."""
        with self.database.write_transaction() as connection:
            connection.execute(sql, values)

    def verify(self, **options: Any) -> VerifyReport:
        """Verify in this process."""
        options = {"processes": 1, "chunk": 256, **options}
        return verify_log(
            VerifyTask(self.place, self.folder.path, SIGNER.name, SIGNER.public, **options)
        )

    def found(self, **options: Any) -> list[tuple[str, int, str | None]]:
        """Return what verifying finds."""
        report = self.verify(**options)
        assert report.is_intact == (not report.findings)
        return [(one.kind, one.index, one.event) for one in report.findings]


def size(connection: Connection) -> int:
    """Return how many events there are."""
    return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Name the database."""
    return str(request.param)


@pytest.fixture
def log_at(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Log]]:
    """Lend how to make logs; they are closed at the test's end."""
    opened: list[Log] = []
    cluster = request.getfixturevalue("postgresql") if database == "postgresql" else None
    names: list[str] = []

    def make(name: str = "log") -> Log:
        if cluster is None:
            place: Path | str = tmp_path / f"{name}.db"
        else:
            names.append(cluster.create())
            place = cluster.url(names[-1])
        log = Log(place, open_database(place), LogFolder(tmp_path / name))
        create_tables(log.database, audit_log.METADATA)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.database.close()
        shutil.rmtree(log.folder.path, ignore_errors=True)


@pytest.fixture
def log(log_at: Callable[[str], Log]) -> Log:
    """Return a log of 600 events, of which 550 are signed for, by three checkpoints."""
    made = log_at("log")
    for count in (100, 250, 200):
        made.add(count)
        made.sign()
    made.add(50)
    return made
