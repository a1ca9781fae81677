"""More than can be answered: `make bench-overload`.

Asks one search of 200 entries from many connections at once, of patient clients and of clients that
give up after a second, then holds 2,300 connections whose headers never end beside eight patient
clients. Prints for each the good answers a second, their 99th percentile, the refusals and
how many of these named no `Retry-After`. Both databases, one process.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.perf.gateway import workload
from tests.perf.gateway.bundles import sample
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import Server, ours

SECONDS = 10.0
PATIENCE_S = 1.0
UNFINISHED = 2300


@dataclass
class Outcome:
    """What the clients of one load had for answers; seconds."""

    good: list[float] = field(default_factory=list)
    refused: int = 0
    unadvised: int = 0
    late: int = 0
    broken: int = 0

    def row(self, name: str) -> str:
        """Return the line of the table."""
        times = sorted(self.good) or [0.0]
        return (
            f"{name:52}{len(self.good) / SECONDS:8.0f}{times[int(len(times) * 0.99)]:8.2f}"
            f"{self.refused:9}{self.unadvised:9}{self.late:8}{self.broken:8}"
        )


def main() -> None:
    """Print a table for each database."""
    rows = [f"{'':52}{'good/s':>8}{'p99 s':>8}{'refused':>9}{'no hint':>9}{'late':>8}{'broken':>8}"]
    data = sample()
    for database in ("sqlite", "postgresql"):
        place = None if database == "sqlite" else database
        with tempfile.TemporaryDirectory() as folder, ours(Path(folder), 1, place) as server:
            workload.seed(server, data)
            workload.import_bundles(server, data)
            for name, clients, patience in (
                ("8 patient clients", 8, 60.0),
                ("64 that give up after 1 s", 64, PATIENCE_S),
                ("256 patient clients", 256, 60.0),
            ):
                outcome = asyncio.run(_press(server, clients, patience))
                rows.append(outcome.row(f"{database}, {name}"))
            outcome, closed = asyncio.run(_beside_unfinished(server))
            rows.append(outcome.row(f"{database}, 8 beside {UNFINISHED} unfinished heads"))
            rows.append(f"{'':4}the {UNFINISHED} were closed by the server within {closed:.0f} s")
    sys.stdout.write("\n".join(rows) + "\n")
    publish("bench-overload", "\n".join(rows))


async def _press(server: Server, clients: int, patience: float) -> Outcome:
    outcome = Outcome()
    end = time.monotonic() + SECONDS
    await asyncio.gather(*(_client(server, outcome, patience, end) for _ in range(clients)))
    return outcome


async def _client(server: Server, outcome: Outcome, patience: float, end: float) -> None:
    """Ask again and again on one connection, on a new one after it was given up or closed."""
    token = server.headers["Authorization"]
    request = (
        "GET /fhir/Observation?_count=200 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {token}\r\nAccept: application/fhir+json\r\n\r\n"
    ).encode()
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", _port(server))
        except OSError:
            outcome.broken += 1
            continue
        try:
            while (start := time.monotonic()) < end:
                writer.write(request)
                status, advice = await asyncio.wait_for(_answer(reader), patience)
                if status == 200:
                    outcome.good.append(time.monotonic() - start)
                    continue
                outcome.refused += 1
                outcome.unadvised += advice is None
                await asyncio.sleep(min(float(advice or 0), end - time.monotonic()))
        except TimeoutError:
            outcome.late += 1
        except (OSError, asyncio.IncompleteReadError, ValueError):
            outcome.broken += 1
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str | None]:
    """Read one answer; return its status and its `Retry-After`."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in head)}
    if "content-length" in fields:
        await reader.readexactly(int(fields["content-length"]))
    else:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return status, fields.get("retry-after")


async def _beside_unfinished(server: Server) -> tuple[Outcome, float]:
    """Hold connections with unfinished heads; return what others had, and when all were closed."""
    start = time.monotonic()
    held = []
    for _ in range(UNFINISHED):
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(server))
        writer.write(b"GET /fhir/metadata HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        held.append((reader, writer))
    closing = asyncio.gather(*(reader.read() for reader, _ in held), return_exceptions=True)
    outcome = await _press(server, 8, 60.0)
    await asyncio.wait_for(closing, 120)
    for _, writer in held:
        writer.close()
    return outcome, time.monotonic() - start


def _port(server: Server) -> int:
    return int(server.base.split(":")[2].split("/")[0])


if __name__ == "__main__":
    main()
