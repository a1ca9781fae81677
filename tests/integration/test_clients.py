"""Clients that nobody here wrote work out of the box, against a real server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fhirclient.models.observation import Observation
from fhirclient.models.organization import Organization
from fhirclient.server import FHIRNotFoundException, FHIRServer
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from tests.lib.gateway import observation
from tests.lib.loops import run
from tests.lib.serving import Served, served

__all__ = ["served"]
KIT = Path(__file__).resolve().parents[1] / "clients"


def new_observation() -> dict[str, Any]:
    body = observation("x", "laboratory")
    del body["id"]
    return body


def test_fhirpy_reads_searches_counts_pages_and_writes(served: Served) -> None:
    client: Any = SyncFHIRClient(served.fhir, authorization=f"Bearer {served.token('doctor.a')}")
    before = client.resources("Observation").search(patient="pat-1").count()

    made = client.resource("Observation", **new_observation())
    made.save()
    made["status"] = "amended"
    made.save()
    after = client.resources("Observation").search(patient="pat-1").limit(1).fetch_all()
    first = client.resources("Observation").search(_id=made.id).include("Observation", "subject")
    named = first.get().id
    kinds = {one.resource_type for one in client.resources("Condition").search(patient="pat-1")}
    made.delete()

    assert len(after) == before + 1
    assert named == made.id
    assert kinds == {"Condition"}
    with pytest.raises(ResourceNotFound):
        client.reference("Observation", made.id).to_resource()


def test_fhirpy_works_asynchronously(served: Served) -> None:
    async def work() -> tuple[int, int, str]:
        client: Any = AsyncFHIRClient(
            served.fhir, authorization=f"Bearer {served.token('doctor.a')}"
        )
        made = client.resource("Observation", **new_observation())
        await made.save()
        found = client.resources("Observation").search(patient="pat-1")
        counted, fetched = await asyncio.gather(found.count(), found.limit(2).fetch_all())
        read = await client.reference("Observation", made.id).to_resource()
        await made.delete()
        return counted, len(fetched), str(read["status"])

    counted, fetched, status = run(work())

    assert counted == fetched
    assert status == "final"


def test_fhirclient_of_smart_reads_searches_and_writes(served: Served) -> None:
    server = FHIRServer(None, f"{served.fhir}/")
    server.session.headers["Authorization"] = f"Bearer {served.token('doctor.a')}"

    statement = server.capabilityStatement
    hospital = Organization.read("hospital-a", server)
    made = Observation(new_observation())
    answer = made.create(server)
    made.id = answer["id"]
    made.status = "amended"
    made.update(server)
    search = Observation.where({"patient": "pat-1", "_count": "2"})
    found = list(search.perform_resources_iter(server))
    made.delete(server)

    assert statement.fhirVersion == "4.0.1"
    assert hospital.name == "Hospital-A"
    assert made.id in {one.id for one in found}
    with pytest.raises(FHIRNotFoundException):
        Observation.read("nobody", server)


def test_fhir_kit_client_of_node_does_all_it_can(served: Served) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed, and fhir-kit-client is a client of Node's")
    if not (KIT / "node_modules").is_dir():
        pytest.skip("fhir-kit-client is not installed: make clients")

    command = [node, str(KIT / "fhir-kit.mjs"), served.fhir, served.token("doctor.a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "version": "4.0.1",
        "made": "final",
        "updated": ["amended", "2"],
        "patched": "corrected",
        "first": "final",
        "history": ["PATCH", "PUT", "POST"],
        "pages": [1, 1],
        "posted": 1,
        "compartment": 1,
        "batch": "200 OK",
        "gone": 410,
    }
