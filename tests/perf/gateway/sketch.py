"""A bare ASGI application under the gateway's own HTTP server and workers: the ceiling of reads.

No log-in, no consent, no audit: it answers `/Type/id` with the body that a reader returns.
"""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ehr_cli.server.http_server import create_server
from ehr_cli.server.workers import serve_with_workers
from ehr_cli.settings import Settings
from tests.lib.ports import free_port
from tests.perf.gateway.processes import processor_ms
from tests.perf.gateway.servers import Server, family
from tests.perf.gateway.wrk import Load, Result, press

__all__ = [
    "BODY",
    "RECORDS",
    "WORKERS",
    "OpenReader",
    "Read",
    "SketchFigures",
    "measure_reads",
    "measure_sketch",
]

WORKERS = 2
RECORDS = 1000
BODY = b'{"resourceType": "Patient", "text": "%s"}' % (b"x" * 900)
# Returns the body of a record; a reader is opened in each worker with the place of the database.
Read = Callable[[str, str], Awaitable[bytes]]
OpenReader = Callable[[str], Awaitable[Read]]
_START = {"type": "http.response.start", "status": 200}
_HEADERS = [(b"content-type", b"application/fhir+json")]


class SketchApplication:
    """An ASGI application that answers `/Type/id` with the body of a reader."""

    def __init__(self, open_reader: OpenReader, database: str) -> None:
        self._open_reader = open_reader
        self._database = database
        self._read: Read | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await receive()
            self._read = await self._open_reader(self._database)
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


@dataclass(frozen=True)
class SketchFigures:
    """What came of a load, and the processor time of a request in milliseconds."""

    result: Result
    server_ms: float
    database_ms: float

    def row(self, name: str) -> str:
        """Return the line of a table."""
        result = self.result
        return (
            f"{name:20}{result.rate:8,.0f}{result.p50_ms:8.2f}{result.p99_ms:8.2f}"
            f"{self.server_ms:11.3f}"
        )


def measure_sketch(
    name: str,
    open_reader: OpenReader,
    database: str,
    seconds: float,
    database_processes: Callable[[], Iterable[int]] = lambda: (),
) -> SketchFigures:
    """Serve the sketch with one reader and read its records for some seconds."""
    port = free_port()
    process = multiprocessing.Process(target=_serve, args=(open_reader, database, port))
    process.start()
    try:
        assert process.pid is not None
        server = Server(name, f"http://127.0.0.1:{port}", {}, {}, process.pid, 0.0)
        _wait(f"{server.base}/Patient/1")
        load = Load("GET", [(f"Patient/{number}", None) for number in range(RECORDS)])
        return measure_reads(server, load, seconds, database_processes)
    finally:
        process.terminate()
        process.join()


def measure_reads(
    server: Server,
    load: Load,
    seconds: float,
    database_processes: Callable[[], Iterable[int]] = lambda: (),
) -> SketchFigures:
    """Press a server after a second of warming up; ends when a request goes wrong."""
    press(server, load, 1)
    before = processor_ms(family(server.pid)), processor_ms(database_processes())
    result = press(server, load, seconds)
    after = processor_ms(family(server.pid)), processor_ms(database_processes())
    if result.errors:
        raise SystemExit(f"{server.name}: {result.errors} of {result.requests} went wrong.")
    server_ms, database_ms = (
        (later - earlier) / result.requests for earlier, later in zip(before, after, strict=True)
    )
    return SketchFigures(result, server_ms, database_ms)


def _serve(open_reader: OpenReader, database: str, port: int) -> None:
    settings = Settings(data=Path(tempfile.gettempdir()), port=port, workers=WORKERS)

    def serve(bound: socket.socket, on_beat: Callable[[], None]) -> None:
        application = SketchApplication(open_reader, database)
        create_server(application, settings, on_beat).run(sockets=[bound])

    serve_with_workers(WORKERS, (settings.host, port), serve, lambda: None)


def _wait(address: str) -> None:
    for _ in range(200):
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise SystemExit("The sketch did not start.")
