"""Fixtures of every kind of test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.demo import demo
from tests.lib.gateway import database, furnished, house, houses, move_in
from tests.lib.kafka_broker import kafka_broker
from tests.lib.object_store import object_store
from tests.lib.old_store import old_dump, old_store, old_store_copy
from tests.lib.postgresql import postgresql
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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of published test data beside the checkout, or skip with the reason."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published test data is not beside this checkout")
    return folder
