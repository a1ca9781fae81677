"""The stores that 5830f38 made (tests/data/store-5830f38), unpacked for a test."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ehr_gateway.database import open_database
from ehr_gateway.migrations.upgrade import upgrade
from tests.lib.gateway import BASE, House
from tests.lib.postgresql import Cluster

_PACKED = Path(__file__).resolve().parents[1] / "data" / "store-5830f38"
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
}


@dataclass(frozen=True)
class OldStore:
    """A data folder and database of 5830f38, and what that version answered."""

    data: Path
    place: Path | str
    expected: dict[str, Any]

    def upgrade(self) -> list[str]:
        """Upgrade it; return the steps that were reported."""
        steps: dict[str, None] = {}
        assert upgrade(self.place, lambda progress: steps.setdefault(progress.step))
        return list(steps)

    def open(self) -> House:
        """Open it with this version's code, at the time when the other one left it."""
        url = self.place if isinstance(self.place, str) else None
        house = House(self.data, address=BASE, database_url=url)
        house.clock.now = self.expected["now_ms"]
        return house

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of every table as they are, in no version's words."""
        with closing(open_database(self.place)) as database, database.read_transaction() as reader:
            names = [row["name"] for row in reader.execute(_TABLES[database.dialect])]
            return {
                name: sorted(
                    (dict(zip(row.keys(), row, strict=True)) for row in rows), key=_by_values
                )
                for name in sorted(names)
                # SQLite's own tables, and those inside FTS5.
                if not name.startswith(("sqlite_", "full_text"))
                for rows in [reader.execute(f"SELECT * FROM {name}").fetchall()]
            }

    def execute(self, statement: str, *values: object) -> None:
        """Change the database as nobody should."""
        with closing(open_database(self.place)) as database, database.write_transaction() as writer:
            writer.execute(statement, values)


def _by_values(row: dict[str, Any]) -> str:
    return str(list(row.values()))


@pytest.fixture(scope="session")
def old_dump(tmp_path_factory: pytest.TempPathFactory, postgresql: Cluster) -> str:
    """Name a PostgreSQL database with the store in it: a template."""
    folder = tmp_path_factory.mktemp("old")
    _unpack("postgresql", folder)
    name = postgresql.create()
    with psycopg.connect(postgresql.url(name)) as connection:
        connection.execute((folder / "dump.sql").read_bytes())
    return name


@pytest.fixture
def old_store(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[OldStore]:
    """Lend a store of 5830f38 on the test's database."""
    with _lent(tmp_path / "old", database, request) as lent:
        yield lent


@pytest.fixture
def old_store_copy(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> Iterator[OldStore]:
    """Lend the same store again, to compare with."""
    with _lent(tmp_path / "copy", database, request) as lent:
        yield lent


@contextmanager
def _lent(folder: Path, database: str, request: pytest.FixtureRequest) -> Iterator[OldStore]:
    _unpack(database, folder)
    expected = json.loads((folder / "expected.json").read_text())
    data = folder / "data"
    if database == "sqlite":
        yield OldStore(data, data / "ehr.db", expected)
        return
    template = request.getfixturevalue("old_dump")
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.database(template=template) as url:
        yield OldStore(data, url, expected)


def _unpack(database: str, folder: Path) -> None:
    with tarfile.open(_PACKED / f"{database}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
