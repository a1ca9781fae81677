"""The real platform in a thread: gateway and portal on a free port, a few of the sample's patients.

What the acceptance tests drive; the same composition as `ehr up`, with real HTTP in front.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from ehr_analytics.register import Register
from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.sample import sample_accounts, synthea_source
from ehr_cli.sample.overlay import SamplePatient, sample_resources
from ehr_cli.server.serve import create_platform, wait_until_ready
from ehr_cli.settings import Settings
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from tests.lib.ports import free_port
from tests.lib.training import train

Resource = dict[str, Any]

# Bills are many and no page shows them; a Provenance names many records, some of other patients.
LEFT_OUT = {"Claim", "ExplanationOfBenefit", "Provenance", "SupplyDelivery"}


@dataclass(frozen=True)
class Platform:
    """A platform that answers."""

    address: str
    data: Path
    patient: SamplePatient


@contextmanager
def platform(
    folder: Path, *, patients: int = 2, more: Iterable[Resource] = ()
) -> Iterator[Platform]:
    """Serve the directory and the first patients of the sample until the block ends.

    `more` are resources besides those of the sample.
    """
    patient = prepare_platform(folder / "data", patients=patients, more=more)
    with serve_platform(folder / "data", patient) as running:
        yield running


def prepare_platform(data: Path, *, patients: int, more: Iterable[Resource] = ()) -> SamplePatient:
    """Fill a data folder as `platform` does; return the patient of the stories."""
    shown = sample_accounts.featured_patients()[:patients]
    settings = Settings(data=data, port=free_port())
    prepare_data_folder(settings)
    fill(settings, chain(_records_of({patient.id for patient in shown}), more))
    return shown[0]


@contextmanager
def serve_platform(data: Path, patient: SamplePatient) -> Iterator[Platform]:
    """Serve a prepared data folder, or a copy of one, until the block ends."""
    settings = Settings(data=data, port=free_port())
    config = uvicorn.Config(
        create_platform(settings), host=settings.host, port=settings.port, log_level="warning",
        # A page that was left open may still listen for events.
        timeout_graceful_shutdown=3,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert wait_until_ready(settings.base_url, 600)
        yield Platform(settings.base_url, settings.data, patient)
    finally:
        server.should_exit = True
        thread.join(20)


def fill(settings: Settings, resources: Iterable[Resource]) -> None:
    """Load resources, and the log-ins of the sample, into a prepared data folder."""
    file = settings.data.with_name("resources.ndjson")
    with file.open("wb") as lines:
        lines.writelines(orjson.dumps(resource) + b"\n" for resource in resources)
    with closing(Store(gateway_settings(settings).database)) as store:
        report = load(store, [file], "ehr-commons", lambda _: None)
        assert not report.rejected, report.rejects[:3]
        sample_accounts.add_accounts(store)
    train(Register(settings.data), "researcher-lau")


def _records_of(patients: set[str]) -> Iterator[Resource]:
    for resource in sample_resources():
        is_left_out = resource["resourceType"] in LEFT_OUT
        if not is_left_out and synthea_source.patient_of(resource) in {"", *patients}:
            yield resource
