"""A gateway that is killed while records come in or go out in bulk, and the next one after it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ehr_gateway.store.store import Store
from tests.integration.faults.server import PATIENCE_S, Served, serving, wait_for_end
from tests.lib.ports import free_port
from tests.lib.postgresql import Cluster
from tests.lib.store import rows

pytestmark = pytest.mark.slow

PEOPLE = 6000
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Return the address of the test's database; None for a file in the data folder."""
    if request.param == "sqlite":
        return None
    cluster: Cluster = request.getfixturevalue("postgresql")
    return cluster.url(cluster.create())


def people() -> Iterator[bytes]:
    """Yield lines of a kilobyte each: more than what lies in buffers on the way."""
    for number in range(PEOPLE):
        contact = [{"name": {"text": "x" * 900}}]
        person = {"resourceType": "Patient", "id": f"p-{number}", "contact": contact}
        yield json.dumps(person).encode() + b"\n"


def send_people(served: Served) -> str:
    """Begin an import; return the path of its status."""
    files = {"Patient": ("Patient.ndjson", b"".join(people()))}
    headers = {**served.headers, **ASYNC}
    answer = httpx.post(
        f"{served.base}/fhir/$import", files=files, headers=headers, timeout=PATIENCE_S
    )
    assert answer.status_code == 202, answer.text
    return urlsplit(answer.headers["content-location"]).path


def poll(served: Served, path: str, *, until_stored: bool = False) -> httpx.Response:
    """Ask until it is done, or until something of it is stored."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer = served.get(path)
        stored = answer.headers.get("x-progress", "0 of").split(" of ")[0]
        if answer.status_code != 202 or (until_stored and stored.isdigit() and int(stored)):
            return answer
        time.sleep(0.01)
    raise AssertionError(served.logged())


def kill(served: Served) -> None:
    """Kill the gateway's process alone; whom it started has to end by itself."""
    children = served.children()
    os.kill(served.process.pid, signal.SIGKILL)
    for child in children:
        assert wait_for_end(child)


def read_until_killed(served: Served, url: str) -> bytes:
    """Fetch a file, kill the gateway when its first bytes are there, return what came."""
    cut = b""
    with (
        pytest.raises(httpx.TransportError),
        httpx.stream("GET", url, headers=plain(served), timeout=PATIENCE_S) as answer,
    ):
        for piece in answer.iter_raw():
            cut += piece
            if served.process.poll() is None:
                kill(served)
    return cut


def plain(served: Served) -> dict[str, str]:
    """Return headers that ask for a file as it is."""
    return {**served.headers, "Accept-Encoding": "identity"}


def test_what_comes_in_or_goes_out_in_bulk_goes_on_after_the_gateway_was_killed(
    tmp_path: Path, address: str | None
) -> None:
    data, port = tmp_path / "data", free_port()
    with serving(data, database=address, port=port) as served:
        path = send_people(served)
        progress = poll(served, path, until_stored=True)
        kill(served)
    with closing(Store(address or data / "ehr.db", data)) as store:
        ((half,),) = rows(store, "SELECT COUNT(*) FROM resource WHERE type = 'Patient'")

    with serving(data, database=address, port=port) as served:
        result = poll(served, path)
        kicked = httpx.get(
            f"{served.base}/fhir/$export?_type=Patient", headers={**served.headers, **ASYNC}
        )
        status = urlsplit(kicked.headers["content-location"]).path
        manifest = poll(served, status).json()
        (file,) = manifest["output"]
        whole = httpx.get(file["url"], headers=plain(served), timeout=PATIENCE_S).content
        cut = read_until_killed(served, file["url"])

    with serving(data, database=address, port=port) as served:
        again = poll(served, status).json()
        asked = {**plain(served), "Range": f"bytes={len(cut)}-"}
        resumed = httpx.get(file["url"], headers=asked, timeout=PATIENCE_S)

    assert progress.status_code == 202
    assert 0 < half < PEOPLE
    assert result.status_code == 200, result.text
    assert list(result.json()["extension"].values()) == [{"stored": PEOPLE, "unchanged": 0}]
    with closing(Store(address or data / "ehr.db", data)) as store:
        counts = "SELECT COUNT(*), COUNT(DISTINCT id), MAX(version) FROM resource"
        assert [tuple(row) for row in rows(store, f"{counts} WHERE type = 'Patient'")] == [
            (PEOPLE, PEOPLE, 1)
        ]
    assert not list((data / "imports").iterdir())
    assert not list(data.glob("load-*"))
    assert 0 < len(cut) < len(whole)
    assert again == manifest
    # No ranges are served: a client that asks for the rest gets the whole file (RFC 9110 §14.2).
    assert resumed.status_code == 200
    assert digest(resumed.content) == digest(whole)
    assert {id_of(line) for line in whole.splitlines()} == {f"p-{n}" for n in range(PEOPLE)}


def digest(content: bytes) -> str:
    """Return a digest, so that a failure prints no megabytes."""
    return hashlib.sha256(content).hexdigest()


def id_of(line: bytes) -> Any:
    """Return the id of a line's resource."""
    return json.loads(line)["id"]
