"""Subscriptions served by processes of their own, some of which are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.sync.client import connect

from ehr_cli.server.serve import wait_until_ready
from tests.lib.gateway import House, must, observation
from tests.lib.ports import free_port
from tests.lib.postgresql import Cluster
from tests.lib.subscriptions import (
    events_of,
    open_endpoint,
    register_system,
    status_of,
    subscribe,
    subscription,
)

# As `ehr up` serves: with its protocol and its options.
_SERVER = """
import sys, uvicorn
from pathlib import Path
from typing import Any
from ehr_cli.server.http_server import uvicorn_options
from ehr_cli.settings import Settings
from ehr_gateway.app import create_gateway
from ehr_gateway.settings import GatewaySettings
data, url, base, port = sys.argv[1:]
app = create_gateway(GatewaySettings(
    data=Path(data), database_url=url or None, base_url=base, subscription_hosts=("127.0.0.1",)
))
uvicorn.run(app, **{**uvicorn_options(Settings()), "port": int(port)})
"""


@contextmanager
def _serve(data: Path, url: str, base: str, port: int) -> Iterator[None]:
    process = _start(data, url, base, port)
    try:
        yield
    finally:
        process.kill()
        process.wait(60)


def _start(data: Path, url: str, base: str, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SERVER, str(data), url, base, str(port)])


def _house(data: Path, url: str, base: str) -> House:
    house = House(
        data, address=base, database_url=url or None, clock=lambda: time.time_ns() // 1_000_000
    )
    house.invite()
    house.furnish()
    return house


def _wait(is_done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_websocket_of_the_server_is_told_and_a_long_message_ends_it(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    house = _house(tmp_path / "data", "", base)
    with house.client, _serve(tmp_path / "data", "", base, port):
        wait_until_ready(base, 60)
        hospital = register_system(house, "hospital-a")
        identity = subscribe(hospital, subscription("new-result", None))
        answer = must(hospital.get(f"Subscription/{identity}/$get-ws-binding-token")).json()
        values = {one["name"]: one for one in answer["parameter"]}
        with connect(values["websocket-url"]["valueUrl"], compression=None) as socket:
            socket.send(f"bind-with-token {values['token']['valueString']}")
            assert status_of(_parse(socket.recv(10)))["type"] == "handshake"
            must(hospital.post("Observation", {**observation("a", "laboratory")}))
            ((number, focus),) = events_of(_parse(socket.recv(20)))
            assert number == 1
            assert focus.startswith("Observation/")
            socket.send("x" * 5000)
            with pytest.raises(Exception, match="1009"):
                socket.recv(10)
    house.gateway.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_workers_that_are_killed_lose_no_event_and_number_none_twice(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(20261130)
    url = ""
    if database == "postgresql":
        cluster: Cluster = request.getfixturevalue("postgresql")
        url = cluster.url(cluster.create())
    ports = [free_port(), free_port()]
    base = f"http://127.0.0.1:{ports[0]}"
    data = tmp_path / "data"
    house = _house(data, url, base)
    written = []
    with house.client, open_endpoint() as endpoint:
        hospital = register_system(house, "hospital-a")
        subscribe(hospital, subscription("new-result", endpoint.address, max_count=3))
        workers = [_start(data, url, base, port) for port in ports]
        try:
            for turn in range(6):
                for _ in range(chance.randrange(3, 15)):
                    body = observation("a", "laboratory")
                    written.append(must(hospital.post("Observation", body)))
                    time.sleep(chance.random() / 20)
                victim = turn % 2
                os.kill(workers[victim].pid, signal.SIGKILL)
                workers[victim].wait()
                workers[victim] = _start(data, url, base, ports[victim])
            names = [f"Observation/{answer.json()['id']}" for answer in written]
            _wait(lambda: len(dict(endpoint.events)) >= len(names), 120)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    house.gateway.store.close()

    assert dict(endpoint.events) == {n: name for n, name in enumerate(names, 1)}
    # A number that came twice was about the same record.
    assert len(set(endpoint.events)) == len(names)
    firsts = list(dict.fromkeys(endpoint.events))
    assert firsts == sorted(firsts)


def _parse(message: str | bytes) -> dict[str, Any]:
    return dict(orjson.loads(message))
