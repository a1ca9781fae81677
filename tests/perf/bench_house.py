"""A house of the tests on a database of its own, for benches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lib.gateway import House
from tests.perf.gateway.postgres import scratch_database

__all__ = ["now_ms", "open_house"]


@contextmanager
def open_house(database: str) -> Iterator[House]:
    """Yield an empty house on the named database, `sqlite` or `postgresql`."""
    with tempfile.TemporaryDirectory() as folder:
        if database == "sqlite":
            house = House(Path(folder, "data"), clock=now_ms)
            with house.client:
                yield house
            house.gateway.store.close()
            return
        with scratch_database(database) as url:
            house = House(Path(folder, "data"), clock=now_ms, database_url=url)
            with house.client:
                yield house
            house.gateway.store.close()


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000
