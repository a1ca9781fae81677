"""The gateway as a real server: an independent client library, and many clients at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from ehr_gateway.auth.local import local_token
from tests.lib.gateway import House, observation


class Served:
    """A furnished gateway behind a port of this machine."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.data = data
        # Real tokens of `ehr token` carry the real time, and so must the server's clock.
        self.house = House(data, address=self.base, clock=lambda: time.time_ns() // 1_000_000)
        self.house.invite()
        self.house.furnish()
        config = uvicorn.Config(self.house.app, port=port, log_level="warning", access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def token(self, login: str) -> str:
        """Return a token as `ehr token --user` gives it."""
        return local_token(self.data, user=login)

    def fhirpy(self, login: str) -> SyncFHIRClient:
        """Return a client of another project; lenient, as it counts in a way of its own."""
        return SyncFHIRClient(
            f"{self.base}/fhir",
            authorization=f"Bearer {self.token(login)}",
            extra_headers={"Prefer": "handling=lenient"},
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a furnished gateway."""
    one = Served(tmp_path_factory.mktemp("served") / "data")
    one.thread.start()
    deadline = time.monotonic() + 20
    while not one.server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield one
    one.server.should_exit = True
    one.thread.join(10)


def test_an_independent_client_reads_searches_pages_and_writes(served: Served) -> None:
    client = served.fhirpy("doctor.a")

    found = client.resources("Observation").search(patient="pat-1").limit(1).fetch_all()
    lab = client.reference("Observation", "lab-1").to_resource()
    lab["note"] = [{"text": "seen"}]
    lab.save()
    made = client.resource("Observation", **{**observation("x", "laboratory"), "id": None})
    made.save()
    count = client.resources("Observation").search(patient="pat-1").count()

    assert len(found) == 3
    assert client.reference("Observation", "lab-1").to_resource()["note"] == [{"text": "seen"}]
    assert made.id
    assert count == 4


def test_an_independent_client_follows_the_patients_switch(served: Served) -> None:
    client = served.fhirpy("doctor.b")

    for status, seen in (("active", True), ("inactive", False), ("active", True)):
        served.house.share(status=status)
        if seen:
            assert client.reference("Observation", "lab-2").to_resource().id == "lab-2"
        else:
            with pytest.raises(ResourceNotFound):
                client.reference("Observation", "lab-2").to_resource()
            assert client.resources("Observation").search(patient="pat-1").fetch() == []


def test_many_clients_write_at_once_and_no_version_is_lost(served: Served) -> None:
    headers = {
        "Authorization": f"Bearer {served.token('doctor.a')}",
        "Content-Type": "application/fhir+json",
    }
    address = f"{served.base}/fhir/Observation/vital-1"
    before = httpx.get(address, headers=headers).headers["etag"]

    def write(number: int) -> int:
        body = {**observation("vital-1", "vital-signs"), "note": [{"text": str(number)}]}
        return httpx.put(address, headers=headers, json=body, timeout=60).status_code

    def guarded(number: int) -> int:
        body = {**observation("lab-2", "laboratory"), "note": [{"text": str(number)}]}
        one = f"{served.base}/fhir/Observation/lab-2"
        guard = {**headers, "If-Match": 'W/"1"'}
        return httpx.put(one, headers=guard, json=body, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, range(24)))
        contested = sorted(pool.map(guarded, range(8)))

    after = httpx.get(address, headers=headers).headers["etag"]
    assert set(statuses) == {200}
    assert int(after[3:-1]) - int(before[3:-1]) == 24
    assert contested == [200] + [412] * 7
