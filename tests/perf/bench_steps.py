"""What each step of a request costs, without HTTP: `python -m tests.perf.bench_steps [ROUNDS]`.

Microseconds of elapsed time, the best round of several, in one thread, on the store of the bench: a
hospital's system that reads what another organisation wrote. The last lines of each table send the
same request through the whole application, without a socket; what the steps do not explain is the
framework and the change of threads.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.settings import Settings
from ehr_fhir import json_text
from ehr_fhir.index.rows import extract_rows
from ehr_fhir.search.query import parse_search
from ehr_fhir.validation.validate import validate
from ehr_gateway.access import Access
from ehr_gateway.app import create_gateway
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.http.searchset import build_searchset
from ehr_gateway.interactions.create import create
from ehr_gateway.interactions.read import read
from ehr_gateway.interactions.update import update
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.offline_tokens import issue_local_token, now_ms
from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_resource
from ehr_inbound.bulk_files.load import load
from tests.perf.gateway.bundles import READER, sample
from tests.perf.gateway.pages import publish

ROUNDS = 9
TIMES = 60


def main() -> None:
    """Print a table for read, search, create and update."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        settings = Settings(data=data)
        prepare_data_folder(settings)
        app = create_gateway(gateway_settings(settings))
        store: Store = app.state.gateway.store
        clients.register_client(store, clients.Client("bench", "Bench", organization=READER))
        patient, code = _fill(store, Path(folder))
        token = issue_local_token(data, client="bench", scope="system/*.cruds")
        lines = []
        with asyncio.Runner() as runner:
            for title, steps in _tables(app, token, patient, code, runner):
                lines += ["", title]
                for name, step in steps:
                    lines.append(f"{_microseconds(step, rounds):9.1f} us  {name}")
        store.close()
    sys.stdout.write("\n".join(lines) + "\n")
    publish("bench-steps", "\n".join(lines))


def _fill(store: Store, folder: Path) -> tuple[str, str]:
    """Put the Bundles' records in; return a patient and a code of his or her Observations."""
    data = sample()
    lines = [orjson.dumps(one) for record in data.records for one in record]
    lines += [orjson.dumps(entry["resource"]) for entry in orjson.loads(data.seed)["entry"]]
    source = folder / "sample.ndjson"
    source.write_bytes(b"\n".join(lines))
    load(store, [source])
    record = data.records[len(data.records) // 2]
    codes = [
        one["code"]["coding"][0]["code"] for one in record if one["resourceType"] == "Observation"
    ]
    # As common as the middle one, as a search of the bench is on average.
    return record[0]["id"], sorted(codes, key=codes.count)[len(codes) // 2]


# Does the step TIMES times.
Step = Callable[[], object]
Steps = list[tuple[str, Step]]


def _tables(
    app: Any, token: str, patient: str, code: str, runner: asyncio.Runner
) -> Iterator[tuple[str, Steps]]:
    gateway = app.state.gateway
    store: Store = gateway.store
    caller = gateway.verifier.authenticate(token, now_ms())

    def access() -> Access:
        return Access(caller.requester, now_ms(), "bench-request")

    known = access()
    occasion = recorder.AuditContext(caller.subject, "TREAT", known.now_ms, "bench-request", "read")
    version = read(store, known, "Patient", patient)
    pairs = [("patient", patient), ("code", code), ("_count", "20")]
    page = search(store, known, "Observation", pairs)
    address = f"Observation?patient={patient}&code={code}&_count=20"
    tokens = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    body = orjson.dumps({**_bare(version.body), "identifier": []} | {"active": True})
    body = orjson.dumps({k: v for k, v in orjson.loads(body).items() if v != []})
    resource = json_text.parse(body)
    named = {**resource, "id": "bench"}
    mine = create(store, known, "Patient", body)
    update_body = orjson.dumps({**orjson.loads(body), "id": mine.id})

    spool = Spool(gateway.settings.audit_spool, store.database)

    def note(found: Any) -> None:
        with store.read_transaction() as connection:
            rows = recorder.build_disclosure_rows(connection, occasion, found)
        spool.append(rows)

    def through(method: str, path: str, content: bytes = b"") -> Step:
        scope = _scope(method, path, tokens)

        async def ask() -> None:
            # All in one run: a server keeps its threads from request to request.
            for _ in range(TIMES):
                status = await _asgi(app, scope, content)
                if status >= 300:
                    raise SystemExit(f"{method} {path.partition('?')[0]}: {status}")

        return lambda: runner.run(ask())

    def hook(connection: Any, versions: Any, _: Any) -> None:
        recorder.record_rows(
            connection, recorder.build_disclosure_rows(connection, occasion, versions)
        )

    yield (
        "read Patient",
        [
            (
                "verify the token (remembered)",
                _often(lambda: gateway.verifier.authenticate(token, now_ms())),
            ),
            ("compile the consent predicate", _often(lambda: access().read_predicate)),
            (
                "read: a connection, the SQL, the row",
                _often(lambda: read(store, known, "Patient", patient)),
            ),
            ("the audit row, made and kept alone", _often(lambda: note([version]))),
            ("the whole request through the application", through("GET", f"Patient/{patient}")),
            ("GET /healthz through the application", through("GET", "/healthz")),
        ],
    )
    yield (
        f"search Observation by patient and code, {len(page.matches)} matches",
        [
            ("parse the query", _often(lambda: parse_search("Observation", pairs))),
            ("compile the consent predicate", _often(lambda: access().search_predicate)),
            ("search: plan, SQL, rows", _often(lambda: search(store, known, "Observation", pairs))),
            ("the audit row, made and kept alone", _often(lambda: note(page.matches))),
            (
                "the Bundle from stored bytes",
                _often(lambda: build_searchset("http://e", "Observation", page)),
            ),
            ("the whole request through the application", through("GET", address)),
        ],
    )
    yield (
        f"create Patient, {len(body):,} bytes",
        [
            ("parse", _often(lambda: json_text.parse(body))),
            ("validate", _often(lambda: validate(resource, "Patient"))),
            ("extract index values", _often(lambda: list(extract_rows(named)))),
            (
                "prepare: validate, extract, facts, serialize",
                _often(lambda: prepare_resource(named, READER)),
            ),
            ("an empty write transaction", _often(lambda: _nothing(store))),
            (
                "create, with audit",
                _often(lambda: create(store, access(), "Patient", body, audit=hook)),
            ),
            ("the whole request through the application", through("POST", "Patient", body)),
        ],
    )
    yield (
        "update Patient",
        [
            (
                "update, with audit",
                _often(
                    lambda: update(store, access(), "Patient", mine.id, update_body, audit=hook)
                ),
            ),
            (
                "the whole request through the application",
                through("PUT", f"Patient/{mine.id}", update_body),
            ),
        ],
    )


def _nothing(store: Store) -> None:
    with store.write_transaction():
        pass


def _bare(body: bytes) -> dict[str, Any]:
    return {key: one for key, one in orjson.loads(body).items() if key not in ("id", "meta")}


def _scope(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return the scope that a server would make of a request."""
    where = path if path.startswith("/") else f"/fhir/{path}"
    url = httpx.URL(f"http://127.0.0.1:8080{where}")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }


async def _asgi(app: Any, scope: dict[str, Any], content: bytes) -> int:
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    # Each request has a scope of its own, and the application writes into it.
    await app({**scope, "state": {}}, receive, send)
    return status


def _often(run: Callable[[], object]) -> Step:
    def repeat() -> None:
        for _ in range(TIMES):
            run()

    return repeat


def _microseconds(step: Step, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        best = min(best, (time.perf_counter() - start) / TIMES)
    return best * 1e6


if __name__ == "__main__":
    main()
