"""The real platform in a thread: gateway and portal on a free port, a few of the sample's patients.

What the acceptance tests drive; the same composition as `ehr up`, with real HTTP in front.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.sample import sample_accounts, synthea_source
from ehr_cli.sample.overlay import SamplePatient, sample_resources
from ehr_cli.server.serve import create_platform, wait_until_ready
from ehr_cli.settings import Settings
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load

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
    folder: Path, *, patients: int = 2, more: Iterable[dict[str, Any]] = ()
) -> Iterator[Platform]:
    """Serve the directory and the first patients of the sample until the block ends.

    `more` are resources besides those of the sample.
    """
    shown = sample_accounts.featured_patients()[:patients]
    settings = Settings(data=folder / "data", port=_free_port())
    prepare_data_folder(settings)
    _fill(settings, folder / "sample.ndjson", {patient.id for patient in shown}, more)
    config = uvicorn.Config(
        create_platform(settings), host=settings.host, port=settings.port, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert wait_until_ready(settings.base_url)
        yield Platform(settings.base_url, settings.data, shown[0])
    finally:
        server.should_exit = True
        thread.join(20)


def _fill(
    settings: Settings, file: Path, patients: set[str], more: Iterable[dict[str, Any]]
) -> None:
    with file.open("wb") as lines:
        for resource in sample_resources():
            if resource["resourceType"] in LEFT_OUT:
                continue
            if synthea_source.patient_of(resource) in {"", *patients}:
                lines.write(orjson.dumps(resource) + b"\n")
        lines.writelines(orjson.dumps(resource) + b"\n" for resource in more)
    store = Store(gateway_settings(settings).database)
    try:
        report = load(store, [file], "ehr-commons", lambda _: None)
        assert not report.rejected, report.rejects[:3]
        sample_accounts.add_accounts(store)
    finally:
        store.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
