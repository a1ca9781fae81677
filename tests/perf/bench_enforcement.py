"""What consent costs: searches and reads with it and without, in one run.

`python -m tests.perf.bench_enforcement [PATIENTS] [ROUNDS] [sqlite|postgresql]`

Without means that this bench puts a predicate that is always true in the place of the requester's;
the gateway has no such switch. Requests go through the whole application, without a socket, audit
included, one after the other; rounds with and without alternate, and the best of each counts.
CPU is of this process: with PostgreSQL its server's comes on top, and the elapsed time tells.
Then two servers of one worker each, one with and one without, are asked in turns by `wrk`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.server.serve import serve
from ehr_cli.settings import Settings
from ehr_gateway import access
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.app import create_gateway
from ehr_gateway.oauth.offline_tokens import issue_local_token
from ehr_gateway.store.store import Store
from ehr_privacy.consent import Predicate
from tests.lib.ports import free_port
from tests.perf.bench_steps import _asgi, _scope
from tests.perf.enforcement_store import BASE, READER, fill_patients
from tests.perf.gateway.pages import publish
from tests.perf.gateway.postgres import scratch_database
from tests.perf.gateway.servers import Server
from tests.perf.gateway.wrk import Load, press

PATIENTS, ROUNDS, TIMES = 2_000, 9, 60
RUNS, SECONDS = 7, 2.0
_TRUE = Predicate("TRUE", {})
Requests = dict[str, list[str]]


def main() -> None:
    """Print what each kind of request takes with and without consent."""
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else PATIENTS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    kind = sys.argv[3] if len(sys.argv) > 3 else "sqlite"
    with tempfile.TemporaryDirectory() as folder, _place(kind) as url:
        settings = Settings(data=Path(folder, "data"), database=url) if url else None
        settings = settings or Settings(data=Path(folder, "data"))
        prepare_data_folder(settings)
        store = Store(gateway_settings(settings).database)
        started = time.monotonic()
        versions = fill_patients(store, patients)
        filled = time.monotonic() - started
        accounts.add_account(
            store.database, Account("dr.bench", "clinician", "Dr B", READER, "doctor"), "bench pass"
        )
        app = create_gateway(gateway_settings(settings), store=store)
        token = issue_local_token(settings.data, user="dr.bench")
        lines = [
            f"{patients:,} patients, {versions:,} versions ({kind}, filled in {filled:.0f} s),"
            f" {rounds} rounds of {TIMES} requests",
            f"{'':34} {'with consent':>20} {'without':>20} {'costs':>14}",
            f"{'':34} {'cpu':>10}{'elapsed':>10} {'cpu':>10}{'elapsed':>10} {'cpu':>7}{'el.':>7}",
        ]
        with asyncio.Runner() as runner:
            for title, paths in _requests(patients).items():
                lines.append(_compared(title, _asking(app, token, paths, runner), rounds))
        lines += ["", *_served(settings, token, _requests(patients))]
        store.close()
    sys.stdout.write("\n".join(lines) + "\n")
    publish("bench-enforcement", "\n".join(lines))


@contextmanager
def _place(kind: str) -> Iterator[str | None]:
    if kind == "sqlite":
        yield None
        return
    with scratch_database(kind) as url:
        yield url


def _requests(patients: int) -> Requests:
    """Return requests of patients who share and closed nothing, so that both answers are alike."""
    copies = patients // BASE
    # Of the base, number 10 and 3 share with the reader.
    some = [(n * 7919 % copies, (10, 3)[n % 2]) for n in range(TIMES)]
    ids = [(f"c{copy:07x}", number) for copy, number in some]
    return {
        "read Observation": [f"Observation/{c}-o0-{n}" for c, n in ids],
        "read Patient": [f"Patient/{c}-p-{n}" for c, n in ids],
        "search Observation?patient=": [
            f"Observation?patient=Patient/{c}-p-{n}&_count=20" for c, n in ids
        ],
        "search Condition?patient=&code=": [
            f"Condition?patient=Patient/{c}-p-{n}&code=J45.909" for c, n in ids
        ],
        "search Patient?identifier=": [f"Patient?identifier=urn:bench|{c}-i-{n}" for c, n in ids],
        "search Observation?code=, a page of 20": [
            f"Observation?code=8867-4&date=ge2026-{n % 12 + 1:02}-01&_count=20"
            for n in range(TIMES)
        ],
    }


def _asking(app: Any, token: str, paths: list[str], runner: asyncio.Runner) -> Callable[[], None]:
    scopes = [_scope("GET", path, {"Authorization": f"Bearer {token}"}) for path in paths]

    async def ask() -> None:
        for scope in scopes:
            status = await _asgi(app, scope, b"")
            if status != 200:
                raise SystemExit(f"{scope['path']}: {status}")

    return lambda: runner.run(ask())


def _compared(title: str, ask: Callable[[], None], rounds: int) -> str:
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for enforced in (True, False):
            with _enforced(enforced):
                cpu, elapsed = time.process_time(), time.perf_counter()
                ask()
                cpu, elapsed = time.process_time() - cpu, time.perf_counter() - elapsed
            # The first of each compiles its statements.
            if turn:
                found[enforced].append((cpu / TIMES * 1e6, elapsed / TIMES * 1e6))
    (cpu_on, on), (cpu_off, off) = (
        [min(one) for one in zip(*found[enforced], strict=True)] for enforced in (True, False)
    )
    return (
        f"{title:40}{cpu_on:8.0f}us{on:8.0f}us {cpu_off:8.0f}us{off:8.0f}us"
        f" {1 - cpu_off / cpu_on:7.1%}{1 - off / on:7.1%}"
    )


def _served(settings: Settings, token: str, requests: Requests) -> Iterator[str]:
    """Yield what each kind of request is served at, over HTTP with eight connections."""
    yield f"{'requests a second, one worker':40}{'with':>10}{'without':>12}{'costs':>9}"
    with ExitStack() as stack:
        servers = {on: stack.enter_context(_server(settings, token, on)) for on in (True, False)}
        for title, paths in requests.items():
            load = Load("GET", [(path, None) for path in paths])
            rates: dict[bool, list[float]] = {True: [], False: []}
            for turn in range(RUNS):
                for on in (True, False) if turn % 2 else (False, True):
                    found = press(servers[on], load, SECONDS)
                    if found.errors:
                        raise SystemExit(f"{title}: {found.errors} requests went wrong.")
                    rates[on].append(found.rate)
            on_rate, off_rate = (statistics.median(rates[on]) for on in (True, False))
            yield f"{title:40}{on_rate:10,.0f}{off_rate:12,.0f}{1 - on_rate / off_rate:9.1%}"


@contextmanager
def _server(settings: Settings, token: str, enforced: bool) -> Iterator[Server]:
    port = free_port()
    given = replace(settings, port=port)
    process = get_context("spawn").Process(target=_serve, args=(given, enforced), daemon=True)
    process.start()
    try:
        base = f"http://127.0.0.1:{port}"
        while process.is_alive() and not _ready(f"{base}/readyz"):
            time.sleep(0.05)
        headers = {"Authorization": f"Bearer {token}"}
        yield Server("ours", f"{base}/fhir", headers, headers, process.pid or 0, 0)
    finally:
        process.terminate()
        process.join()


def _serve(settings: Settings, enforced: bool) -> None:
    with _enforced(enforced):
        serve(settings, lambda _: None)


def _ready(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _enforced(enforced: bool) -> Iterator[None]:
    if enforced:
        yield
        return
    with mock.patch.object(access, "compile_predicate", lambda *_, **__: _TRUE):
        yield


if __name__ == "__main__":
    main()
