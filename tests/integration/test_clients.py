"""Clients that nobody here wrote work out of the box, against a real server."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from fhirclient.models.observation import Observation
from fhirclient.models.organization import Organization
from fhirclient.server import FHIRNotFoundException, FHIRServer
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from tests.lib.gateway import observation
from tests.lib.health_links import PASSCODE, create_link
from tests.lib.loops import run
from tests.lib.serving import Served, served
from tests.spec.access.steps import send

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
    operations = client.resources("OperationDefinition").search(code="everything").fetch_all()
    kinds = {one.resource_type for one in client.resources("Condition").search(patient="pat-1")}
    made.delete()

    assert len(after) == before + 1
    assert named == made.id
    assert [one.id for one in operations] == ["Encounter-everything", "Patient-everything"]
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


@pytest.mark.parametrize("content", ["snapshot", "live"])
def test_kill_the_clipboard_opens_a_health_link(served: Served, content: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed, and kill-the-clipboard is a library of Node's")
    if not (KIT / "node_modules" / "kill-the-clipboard").is_dir():
        pytest.skip("kill-the-clipboard is not installed: make clients")
    session = served.house.login("p.pat-1")
    until = f"{date.today() + timedelta(days=3)}"
    made = create_link(session, content=content, until=until, label="診所 clinic")

    def open_by_node(passcode: str) -> dict[str, Any]:
        command = [node, str(KIT / "health-link.mjs"), made["link"], passcode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    opened, wrong = open_by_node(PASSCODE), open_by_node("a wrong one")
    send(session, "Patient/pat-1/$end-health-link", link=made["id"])
    ended = open_by_node(PASSCODE)

    assert opened["title"] == "International Patient Summary"
    for way in ("embedded", "apart"):
        assert {"Patient/pat-1", "Observation/lab-1"} <= set(opened[way])
    assert opened["label"] == "診所 clinic"
    assert (opened["passcode"], opened["long"]) == (True, content == "live")
    assert opened["status"] == {"snapshot": "finalized", "live": "can-change"}[content]
    assert [wrong[way] for way in ("embedded", "apart")] == ["SHLInvalidPasscodeError"] * 2
    assert [ended[way] for way in ("embedded", "apart")] == ["SHLManifestNotFoundError"] * 2


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
