"""A revocation holds at the next request on every worker: processes of their own, one store.

Each flip is written through one worker by the patient, and at once every answer of a worker drawn
by chance has to follow it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from ehr_cli.server.serve import wait_until_ready
from tests.lib.gateway import House, consent
from tests.lib.ports import free_port
from tests.lib.postgresql import Cluster

WORKERS = 4
# Processes of the gateway, a port each, over a store that the others have open too. What they are
# made of is read once, before they part.
_SERVERS = """
import os, sys, uvicorn
from pathlib import Path
from ehr_gateway.app import create_gateway
from ehr_gateway.settings import GatewaySettings
data, url, base, *ports = sys.argv[1:]
settings = GatewaySettings(data=Path(data), database_url=url or None, base_url=base)
children = []
for port in ports:
    child = os.fork()
    if not child:
        app = create_gateway(settings)
        uvicorn.run(app, port=int(port), log_level="warning", access_log=False)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


@contextmanager
def _served(data: Path, url: str, base: str) -> Iterator[list[str]]:
    ports = [str(free_port()) for _ in range(WORKERS)]
    command = [sys.executable, "-c", _SERVERS, str(data), url, base, *ports]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)


@pytest.fixture(params=["sqlite", "postgresql"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[House, list[str]]]:
    """Serve a furnished store by four processes."""
    url = None
    with ExitStack() as stack:
        if request.param == "postgresql":
            cluster: Cluster = request.getfixturevalue("postgresql")
            url = cluster.url(cluster.create())
        # Real tokens carry the real time, and so must the servers' clocks.
        house = House(
            tmp_path / "data", clock=lambda: time.time_ns() // 1_000_000, database_url=url
        )
        stack.callback(house.gateway.store.close)
        house.invite()
        house.furnish()
        base = house.settings.base_url
        found = stack.enter_context(_served(tmp_path / "data", url or "", base))
        for one in found:
            assert wait_until_ready(one, 300)
        yield house, found


def _flips(house: House, addresses: list[str], times: int) -> list[str]:
    """Turn sharing on and off; return what was answered against it."""
    chance = random.Random(20261122)
    stale = []
    patient, doctor = (
        {"Authorization": f"Bearer {house.token(login)}"} for login in ("p.pat-1", "doctor.b")
    )
    provision = {
        "type": "permit",
        "actor": [
            {
                "role": {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                            "code": "IRCP",
                        }
                    ]
                },
                "reference": {"reference": "Organization/hospital-b"},
            }
        ],
    }
    house.share()
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=f"{one}/fhir", timeout=60))
                   for one in addresses]  # fmt: skip
        for number in range(times):
            shared = number % 2 == 1
            body = consent(
                "sharing-hospital-b",
                "sharing",
                status="active" if shared else "inactive",
                provision=provision,
            )
            writer, reader, finder = (chance.choice(clients) for _ in range(3))
            answer = writer.put(f"Consent/{body['id']}", json=body, headers=patient)
            assert answer.status_code == 200, answer.text
            read = reader.get("Observation/lab-1", headers=doctor).status_code
            found = finder.get("Observation?patient=pat-1&_summary=count", headers=doctor).json()
            if read != (200 if shared else 404) or bool(found["total"]) != shared:
                stale.append(f"{number}: {read}, {found['total']}")
    return stale


@pytest.mark.parametrize("workers", ["sqlite"], indirect=True)
def test_no_worker_gives_a_stale_answer(workers: tuple[House, list[str]]) -> None:
    assert _flips(*workers, times=50) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_worker_gives_a_stale_answer_in_a_thousand_flips(
    workers: tuple[House, list[str]],
) -> None:
    assert _flips(*workers, times=1000) == []
