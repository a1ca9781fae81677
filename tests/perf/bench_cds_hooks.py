"""How long a card takes: `make bench-cds-hooks`.

A clinician's screen calls each service that is offered, of a patient with thousands of records who
left hospital three days ago: the check of medicines, and those of a promoted version of
`readmission-28d`, which learnt from made-up people. The gateway and the caller run in one process,
as in `ehr up` with one worker. Told are median and 95th percentile of whole answers, the time of
the processor for one, and its ratio to the reference of the run: the records that the model reads,
found by the same clinician's searches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.keys import open_signing_keys
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.feature_list import write_features
from ehr_models.learners.portable import write_model
from ehr_models.learners.tuning import Rows, fit_best
from ehr_models.model_store import ModelStore
from ehr_models.registry import get_task
from ehr_models.task import Frame
from ehr_models.task_file import parse_declaration, read_document
from ehr_portal.web.oauth_login import SCOPE
from tests.lib.fhir_people import build_views, draw_person
from tests.lib.promoted import promote
from tests.lib.server import Platform, platform
from tests.perf.bench_portal import doctor_of_sample, repeated_records

_WARM_UP = 5
_SEARCHES = (
    "Condition?",
    "Encounter?",
    "MedicationRequest?",
    "Procedure?",
    "Observation?category=laboratory&",
)
_MOST_SECONDS = 120
_DRAFT = {
    "resourceType": "MedicationRequest",
    "id": "draft",
    "status": "draft",
    "intent": "proposal",
    "medicationCodeableConcept": {"text": "Ibuprofen 400 mg tablet"},
}


def main() -> None:
    """Fill a platform, call each service, print the table."""
    wanted = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        more = list(repeated_records(wanted.resources))
        more.append(_end_a_stay(more))
        with platform(Path(folder), patients=1, more=more) as served:
            _promote_model(served.data)
            client = _client(served)
            patient = served.patient.id
            _measure("Patient, by id", lambda: client.get(f"/fhir/Patient/{patient}"), wanted)
            reference = _measure(
                "the records, by search", lambda: _search_records(client, patient), wanted
            )
            for service in _wait_for_services(client):
                sent = _body(service, patient)
                address = f"/cds-services/{service['id']}"
                call = partial(client.post, address, json=sent)
                _measure(service["id"], call, wanted, reference)


def _search_records(client: httpx.Client, patient: str) -> httpx.Response:
    """Find all records that the model reads, page by page; return the last page."""
    for search in _SEARCHES:
        address = f"/fhir/{search}patient={patient}&_count=1000&_total=none"
        while address:
            page = client.get(address)
            links = page.json()["link"]
            address = next((one["url"] for one in links if one["relation"] == "next"), "")
    return page


def _end_a_stay(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a copy of one of the patient's encounters as a stay that ended three days ago."""
    own = next(one for one in records if one["resourceType"] == "Encounter")
    ended = datetime.now(UTC) - timedelta(days=3)
    return {
        **own,
        "id": "bench-stay",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {
            "start": (ended - timedelta(days=4)).isoformat(timespec="seconds"),
            "end": ended.isoformat(timespec="seconds"),
        },
    }


def _promote_model(data: Path) -> None:
    """Promote a version that learnt from 300 made-up people."""
    declared = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    people = [resource for number in range(300) for resource in draw_person(number)]
    frame: Frame = build_frame(declared, build_views(declared, people))
    model = fit_best(("boosting",), Rows.of_frame(frame))
    written = {**write_model(model), **write_features(frame)}
    store = ModelStore(data)
    promote(data, store.save_version(get_task("readmission-28d").name, written, datetime.now(UTC)))


def _wait_for_services(client: httpx.Client) -> list[dict[str, Any]]:
    """Return the services once the audit log has the promotion: before it no model is offered."""
    for _ in range(_MOST_SECONDS):
        services: list[dict[str, Any]] = client.get("/cds-services").json()["services"]
        if len(services) > 1:
            return services
        time.sleep(1)
    raise SystemExit("The model is not offered.")


def _client(served: Platform) -> httpx.Client:
    settings = gateway_settings(Settings(data=served.data, port=int(served.address[-5:])))
    subject: Subject = doctor_of_sample()
    keys = open_signing_keys(settings.keys)
    token, _ = issue_access_token(keys, settings, subject, SCOPE, int(time.time() * 1000))
    return httpx.Client(
        base_url=served.address, headers={"Authorization": f"Bearer {token}"}, timeout=60
    )


def _body(service: dict[str, Any], patient: str) -> dict[str, Any]:
    draft = {**_DRAFT, "subject": {"reference": f"Patient/{patient}"}}
    return {
        "hook": service["hook"],
        "hookInstance": str(uuid.uuid4()),
        "context": {
            "userId": "Practitioner/doctor",
            "patientId": patient,
            "encounterId": "bench-stay",
            "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": draft}]},
        },
    }


def _measure(name: str, call: Any, wanted: argparse.Namespace, reference: float = 0.0) -> float:
    """Print how long calls take; return the processor's milliseconds for one."""
    times: list[float] = []
    processor = 0.0
    for number in range(wanted.rounds + _WARM_UP):
        if number == _WARM_UP:
            processor = time.process_time()
        began = time.perf_counter()
        answer = call()
        if number >= _WARM_UP:
            times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"{name} answered {answer.status_code}: {answer.text}")
    processor = (time.process_time() - processor) * 1000 / float(wanted.rounds)
    cuts = statistics.quantiles(times, n=20)
    told = answer.json()
    cards = f"  {len(told['cards'])} cards" if "cards" in told else ""
    ratio = f"  {processor / reference:.2f} of the reference" if reference else ""
    sys.stdout.write(
        f"{name:28} p50 {statistics.median(times):6.1f} ms  p95 {cuts[-1]:6.1f} ms"
        f"  processor {processor:.1f} ms{ratio}{cards}  load {os.getloadavg()[0]:.1f}\n"
    )
    return processor


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
