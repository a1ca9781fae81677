"""Fixtures of every kind of test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.lib.demo import demo
from tests.lib.gateway import database, furnished, house, houses, move_in
from tests.lib.kafka_broker import kafka_broker
from tests.lib.object_store import object_store
from tests.lib.old_store import old_dump, old_store, old_store_copy
from tests.lib.postgresql import postgresql
from tests.lib.same_examples import leave_constants_out
from tests.lib.spark import spark
from tests.lib.store import empty_store, place, shared_record, store

__all__ = [
    "ROOT",
    "database",
    "demo",
    "empty_store",
    "furnished",
    "house",
    "houses",
    "kafka_broker",
    "move_in",
    "object_store",
    "old_dump",
    "old_store",
    "old_store_copy",
    "place",
    "postgresql",
    "shared_data",
    "shared_record",
    "spark",
    "store",
]

ROOT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
# Chosen: several times what a run needs, beside PostgreSQL, Spark and Chromium.
ROOM = 8 * 2**30

# Generated tests: neither a slow machine nor fixtures that examples share are faults, and `make
# test` draws the same examples for everybody, on each run.
settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# Other examples on each run, on CI too; what failed is tried first on the next.
settings.register_profile(
    "explore",
    settings.get_profile("same"),
    derandomize=False,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    print_blob=True,
)
# Tens of thousands for a test that does not say how many.
settings.register_profile("nightly", settings.get_profile("explore"), max_examples=30_000)
settings.load_profile("same")
leave_constants_out("same")


def pytest_configure() -> None:
    """Keep the folders of tests in memory where there is room.

    A test of a store waits for the disk some twenty times, 1 to 2 ms each, for data that nobody
    needs after it. Without the room, or with PYTEST_DEBUG_TEMPROOT, they lie where pytest says.
    """
    if MEMORY.is_dir() and min(_free_space(), _free_memory()) > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Chosen: of the largest cross product about every twelfth case, of most every fourth.
SAMPLE = 8


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a sample of the cases that a test marked `sampled` has on PostgreSQL.

    Such a test is about a rule that no database decides: SQLite shows every case, and PostgreSQL
    that the answers are the same. The other cases are slow: `make test-slow` runs them.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled") and "postgresql" in _parameters(item):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for on_postgresql in cases.values():
        number = len(on_postgresql)
        kept = {index * number // SAMPLE for index in range(SAMPLE)}
        for index, item in enumerate(on_postgresql):
            if index not in kept:
                item.add_marker("slow")


def _parameters(item: pytest.Item) -> list[object]:
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


def _free_space() -> int:
    return shutil.disk_usage(MEMORY).free


def _free_memory() -> int:
    """Return the bytes that programs can still have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of published test data beside the checkout, or skip with the reason."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published test data is not beside this checkout")
    return folder
