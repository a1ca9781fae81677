"""The gateway as a real server: an independent client library, and many clients at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from tests.lib.gateway import observation
from tests.lib.serving import Served, served

__all__ = ["served"]


def doctor(served: Served, login: str) -> SyncFHIRClient:
    """Return a client of another project."""
    return SyncFHIRClient(served.fhir, authorization=f"Bearer {served.token(login)}")


def test_an_independent_client_reads_searches_pages_and_writes(served: Served) -> None:
    client = doctor(served, "doctor.a")

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
    client = doctor(served, "doctor.b")

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
    before = httpx.get(address, headers=headers, timeout=60).headers["etag"]

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

    after = httpx.get(address, headers=headers, timeout=60).headers["etag"]
    assert set(statuses) == {200}
    assert int(after[3:-1]) - int(before[3:-1]) == 24
    assert contested == [200] + [412] * 7
