"""The workload: what is imported, and the requests of each measurement on what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from tests.perf.gateway.bundles import Sample, pointed
from tests.perf.gateway.servers import Server
from tests.perf.gateway.wrk import Load

__all__ = ["Imported", "creates", "import_bundles", "reads", "searches", "seed", "updates"]

_JSON = {"Content-Type": "application/fhir+json"}
_UPDATED = 64


@dataclass(frozen=True)
class Imported:
    """How an import went, and under which ids the records are now."""

    resources: int
    seconds: float
    errors: int
    # "Patient/<id in the sample>" -> "Patient/<id on the server>"
    names: dict[str, str]


def seed(server: Server, sample: Sample) -> None:
    """Put the directory in."""
    _post(server, sample.seed).raise_for_status()


def import_bundles(server: Server, sample: Sample) -> Imported:
    """Post all Bundles, two at a time."""
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: _post(server, one), sample.bundles))
    seconds = time.monotonic() - start
    names: dict[str, str] = {}
    errors = resources = 0
    for record, answer in zip(sample.records, answers, strict=True):
        entries = answer.json().get("entry", []) if answer.status_code == 200 else []
        places = [entry.get("response", {}).get("location", "") for entry in entries]
        if len(places) != len(record) or not all(places):
            errors += 1
            continue
        resources += len(record)
        for one, place in zip(record, places, strict=True):
            kind = str(one["resourceType"])
            # A location may be absolute, and ends with the version.
            identity = place.partition("/_history")[0].rpartition("/")[2]
            names[f"{kind}/{one['id']}"] = f"{kind}/{identity}"
    return Imported(resources, seconds, errors, names)


def reads(imported: Imported) -> Load:
    """Read the patients that were imported."""
    names = [name for name in imported.names.values() if name.startswith("Patient/")]
    return Load("GET", [(name, None) for name in names], expect=None)


def searches(sample: Sample, imported: Imported) -> Load:
    """Search the Observations of a patient with a code that he or she has."""
    found: dict[str, None] = {}
    for record in sample.records:
        for one in record:
            if one["resourceType"] == "Observation":
                patient = imported.names[one["subject"]["reference"]].partition("/")[2]
                coding = one["code"]["coding"][0]
                code = quote(f"{coding['system']}|{coding['code']}", safe="")
                found[f"Observation?patient={patient}&code={code}&_count=20"] = None
    return Load("GET", [(path, None) for path in found], expect='"fullUrl"')


def creates(sample: Sample) -> Load:
    """Create Patients like those of the sample."""
    return Load("POST", [("Patient", _body(record[0])) for record in sample.records])


def updates(server: Server, sample: Sample) -> Load:
    """Update Patients that this client created, each now and then."""
    requests = []
    for number in range(_UPDATED):
        patient = sample.records[number % len(sample.records)][0]
        made = _send(server, "Patient", _body(patient))
        made.raise_for_status()
        identity = made.headers["location"].partition("/_history")[0].rpartition("/")[2]
        body = orjson.dumps({**patient, "id": identity, "active": True})
        requests.append((f"Patient/{identity}", body))
    return Load("PUT", requests)


def templates(sample: Sample, imported: Imported, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return one resource of each type, pointing at what was imported."""
    first = {
        one["resourceType"]: one for record in reversed(sample.records) for one in reversed(record)
    }
    return [
        {key: value for key, value in pointed(first[kind], imported.names).items() if key != "id"}
        for kind in kinds
    ]


def _body(patient: dict[str, Any]) -> bytes:
    return orjson.dumps({key: value for key, value in patient.items() if key != "id"})


def _post(server: Server, bundle: bytes) -> httpx.Response:
    headers = {**_JSON, **server.importer}
    # The base address as each server writes it.
    return httpx.post(server.base, content=bundle, headers=headers, timeout=300)


def _send(server: Server, path: str, body: bytes) -> httpx.Response:
    headers = {**_JSON, **server.headers}
    return httpx.post(f"{server.base}/{path}", content=body, headers=headers, timeout=60)
