"""A furnished gateway behind a port of this machine, for clients that nobody here wrote."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from ehr_gateway.oauth.offline_tokens import issue_local_token
from tests.lib.gateway import House
from tests.lib.ports import free_port


class Served:
    """A furnished gateway that answers over real HTTP."""

    def __init__(self, data: Path) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.data = data
        # Real tokens of `ehr token` carry the real time, and so must the server's clock.
        self.house = House(data, address=self.base, clock=lambda: time.time_ns() // 1_000_000)
        self.house.invite()
        self.house.furnish()
        config = uvicorn.Config(self.house.app, port=port, log_level="warning", access_log=False)
        self.server = uvicorn.Server(config)

    @property
    def fhir(self) -> str:
        """Return the base address of the FHIR service."""
        return f"{self.base}/fhir"

    def token(self, login: str) -> str:
        """Return a token as `ehr token --user` gives it."""
        return issue_local_token(self.data, user=login)


@contextmanager
def serving(data: Path) -> Iterator[Served]:
    """Serve until the block ends."""
    one = Served(data)
    thread = threading.Thread(target=one.server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while not one.server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield one
    finally:
        one.server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a furnished gateway to the tests of a file."""
    with serving(tmp_path_factory.mktemp("served") / "data") as one:
        yield one
