"""The servers that are measured: how each starts, how a request gets in, what memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.settings import Settings
from ehr_gateway.accounts.accounts import Account, add_account
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.offline_tokens import issue_local_token
from ehr_gateway.store.store import Store
from tests.lib.ports import free_port
from tests.lib.server import Resource, fill
from tests.perf.gateway.bundles import READER
from tests.perf.gateway.hfs import write_definitions
from tests.perf.gateway.postgres import scratch_database

__all__ = ["Server", "demonstration", "earlier", "family", "helios", "ours"]

_PATIENCE_S = 60
_PACKAGES = ("analytics", "cli", "etl", "fhir-gateway", "models", "portal", "privacy")
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A running server, empty but for what it makes itself at its first start."""

    name: str
    base: str
    # Of the client that brings the Bundles in, and of the one that works with them.
    importer: dict[str, str]
    headers: dict[str, str]
    pid: int
    start_seconds: float

    def memory(self) -> list[float]:
        """Return the resident memory in MiB of each process that serves, largest first."""
        return sorted((_resident(pid) for pid in family(self.pid)), reverse=True)


@contextmanager
def ours(folder: Path, workers: int = 1, database: str | None = None) -> Iterator[Server]:
    """Serve an empty store with `ehr up`; requests are a hospital's system's.

    It reads what another organisation wrote under the patients' sharing consents, so every line of
    the consent table is asked; it updates what it wrote itself.
    """
    with nullcontext() if database is None else scratch_database(database) as url:
        port = free_port()
        settings = Settings(data=folder / "ours", port=port, database=url or "sqlite")
        prepare_data_folder(settings)
        token = _tokens(settings)
        command = [
            *(sys.executable, "-m", "ehr_cli.main", "up", "--data", str(settings.data)),
            *("--port", str(port), "--workers", str(workers), "--database", settings.database),
        ]
        with _running(command, folder, {}, f"http://127.0.0.1:{port}/readyz") as (pid, seconds):
            base = f"http://127.0.0.1:{port}/fhir"
            yield Server("ours", base, token["bench-import"], token["bench"], pid, seconds)


@contextmanager
def demonstration(
    folder: Path,
    resources: Iterable[Resource],
    workers: int,
    *,
    accounts: Iterable[Account] = (),
    password: str = "",
) -> Iterator[Server]:
    """Serve resources, and the log-ins of the sample, with `ehr up`: gateway and portal.

    `accounts` are added to those of the sample, all with one password.
    """
    settings = Settings(data=folder / "data", port=free_port())
    prepare_data_folder(settings)
    fill(settings, resources)
    with closing(Store(gateway_settings(settings).database)) as store:
        for account in accounts:
            add_account(store, account, password)
    command = [
        *(sys.executable, "-m", "ehr_cli.main", "up", "--data", str(settings.data)),
        *("--port", str(settings.port), "--workers", str(workers)),
    ]
    with _running(command, folder, {}, f"{settings.base_url}/readyz") as running:
        yield Server("platform", settings.base_url, {}, {}, *running)


def _tokens(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the headers of the platform's own system, and of the hospital's."""
    gateway = gateway_settings(settings)
    store = Store(gateway.database)
    clients.register_client(store, clients.Client("bench", "Bench", organization=READER))
    store.close()
    return {
        client: {
            "Authorization": "Bearer "
            + issue_local_token(
                settings.data,
                client=client,
                scope="system/*.cruds",
                database_url=gateway.database_url,
            )
        }
        for client in ("bench", "bench-import")
    }


# Serves what `ours` of the checkout it runs in serves, until its standard input ends.
_SERVE_EARLIER = """
import dataclasses, json, pathlib, sys
from tests.perf.gateway.servers import ours
import ehr_gateway
if not pathlib.Path(ehr_gateway.__file__).is_relative_to(pathlib.Path.cwd()):
    sys.exit(f"{ehr_gateway.__file__} is not of this checkout: this Python has paths of its own.")
folder, workers, database = sys.argv[1:]
with ours(pathlib.Path(folder), int(workers), database or None) as server:
    print(json.dumps(dataclasses.asdict(server)), flush=True)
    sys.stdin.read()
"""


@contextmanager
def earlier(
    checkout: Path, folder: Path, workers: int = 1, database: str | None = None
) -> Iterator[Server]:
    """Serve an empty store with the code of another checkout, on this one's dependencies."""
    (folder / "earlier").mkdir()
    paths = [checkout, *(checkout / place for place in _PACKAGES)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _SERVE_EARLIER,
            str(folder / "earlier"),
            str(workers),
            database or "",
        ],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        answer = process.stdout.readline()
        if not answer:
            raise SystemExit(f"The gateway of {checkout} did not start.")
        yield Server(**{**json.loads(answer), "name": "earlier"})
    finally:
        process.stdin.close()
        process.wait(60)


@contextmanager
def helios(folder: Path, program: Path) -> Iterator[Server]:
    """Serve an empty store with helios-hfs on SQLite, as it comes: no log-in, no audit."""
    port = free_port()
    place = folder / "helios"
    write_definitions(place / "data")
    settings = {
        "HFS_SERVER_PORT": str(port),
        "HFS_DATABASE_URL": str(place / "fhir.db"),
        "HFS_DATA_DIR": str(place / "data"),
        "HFS_LOG_LEVEL": "error",
        # A Bundle of a thousand entries may take longer than the half minute it has by default.
        "HFS_REQUEST_TIMEOUT": "300",
        # Its web pages have nothing to do with FHIR.
        "HFS_UI_ENABLED": "false",
    }
    with _running([str(program)], place, settings, f"http://127.0.0.1:{port}/health") as running:
        yield Server("helios", f"http://127.0.0.1:{port}", {}, {}, *running)


@contextmanager
def _running(
    command: list[str], folder: Path, settings: dict[str, str], ready: str
) -> Iterator[tuple[int, float]]:
    environment = {**os.environ, **settings}
    with (folder / "server.log").open("wb") as log:
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, ready)
            yield process.pid, time.monotonic() - start
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.02)
    raise SystemExit(f"{process.args!r} did not become ready.")


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        for tasks in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                # A thread that has ended meanwhile.
                continue
    return found


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
