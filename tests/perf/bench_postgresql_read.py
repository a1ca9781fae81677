"""The ceiling of reads on PostgreSQL: `python -m tests.perf.bench_postgresql_read [SECONDS]`.

The least work that answers a read in Python: a bare ASGI application under the gateway's own HTTP
server and workers, and one prepared statement that returns a body by type and id. No log-in, no
consent, no audit. The same load as for the gateway (`tests.perf.gateway.wrk`, 8 connections), once
for each way to reach the database. asyncpg is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg

from ehr_cli.server.http_server import create_server
from ehr_cli.server.workers import serve_with_workers
from ehr_cli.settings import Settings
from tests.perf.gateway.pages import publish
from tests.perf.gateway.postgres import scratch_database
from tests.perf.gateway.processes import processor_ms
from tests.perf.gateway.servers import Server, family, free_port
from tests.perf.gateway.wrk import Load, press, require
from tests.perf.postgresql_readers import READERS, Read

_WORKERS = 2
_RECORDS = 1000
_BODY = b'{"resourceType": "Patient", "text": "%s"}' % (b"x" * 900)
_START = {"type": "http.response.start", "status": 200}
_HEADERS = [(b"content-type", b"application/fhir+json")]


class SketchApplication:
    """An ASGI application that answers `/Type/id` with the body of a reader."""

    def __init__(self, reader: str, url: str) -> None:
        self._open = READERS[reader]
        self._url = url
        self._read: Read | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await receive()
            self._read = await self._open(self._url)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert self._read is not None
        _, kind, identity = scope["path"].split("/")
        body = await self._read(kind, identity)
        length = (b"content-length", str(len(body)).encode())
        await send({**_START, "headers": [*_HEADERS, length]})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Measure each reader in turn and print a table."""
    require()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    lines = [f"{'':20}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'server ms':>11}{'database ms':>13}"]
    with scratch_database("postgresql") as url:
        _fill(url)
        for name in READERS:
            if name == "asyncpg" and importlib.util.find_spec("asyncpg") is None:
                continue
            lines.append(_measure(name, url, seconds))
            sys.stderr.write(f"{lines[-1]}\n")
    table = "\n".join(lines)
    sys.stdout.write(f"{table}\n")
    publish("bench-postgresql-read", f"{_WORKERS} workers, 8 connections\n{table}")


def _fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE record (type text, id text, body bytea)")
        rows = [("Patient", str(number), _BODY) for number in range(_RECORDS)]
        connection.cursor().executemany("INSERT INTO record VALUES (%s, %s, %s)", rows)
        connection.execute("CREATE UNIQUE INDEX ON record (type, id)")
        connection.execute("ANALYZE record")


def _measure(name: str, url: str, seconds: float) -> str:
    port = free_port()
    process = multiprocessing.Process(target=_serve, args=(name, url, port))
    process.start()
    try:
        assert process.pid is not None
        server = Server(name, f"http://127.0.0.1:{port}", {}, {}, process.pid, 0.0)
        _wait(f"{server.base}/Patient/1")
        load = Load("GET", [(f"Patient/{number}", None) for number in range(_RECORDS)])
        press(server, load, 1)
        before = processor_ms(family(server.pid)), processor_ms(_database_processes())
        result = press(server, load, seconds)
        after = processor_ms(family(server.pid)), processor_ms(_database_processes())
    finally:
        process.terminate()
        process.join()
    if result.errors:
        raise SystemExit(f"{name}: {result.errors} of {result.requests} requests went wrong.")
    spent, spent_database = (
        (later - earlier) / result.requests for earlier, later in zip(before, after, strict=True)
    )
    return (
        f"{name:20}{result.rate:8,.0f}{result.p50_ms:8.2f}{result.p99_ms:8.2f}"
        f"{spent:11.3f}{spent_database:13.3f}"
    )


def _serve(name: str, url: str, port: int) -> None:
    settings = Settings(data=Path(tempfile.gettempdir()), port=port, workers=_WORKERS)

    def serve(bound: socket.socket, on_beat: Callable[[], None]) -> None:
        create_server(SketchApplication(name, url), settings, on_beat).run(sockets=[bound])

    serve_with_workers(_WORKERS, (settings.host, port), serve, lambda: None)


def _wait(address: str) -> None:
    for _ in range(200):
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise SystemExit("The sketch did not start.")


def _database_processes() -> list[int]:
    """Return the processes of every PostgreSQL server of this machine."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _command(pid).startswith("postgres")]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
