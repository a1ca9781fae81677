"""Load by `wrk`: one thread, a few connections, a file of requests, for some seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from tests.perf.gateway.servers import Server

__all__ = ["Load", "Result", "press", "require"]

_SCRIPT = Path(__file__).with_name("scripts") / "requests.lua"


@dataclass(frozen=True)
class Load:
    """What is asked: a method, and lines of address and body below the base address."""

    method: str
    requests: Sequence[tuple[str, bytes | None]]
    # A text that every answer holds.
    expect: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of a run; `errors` are refusals, answers without what was expected, broken ones."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Return the requests a second that were answered as they should be."""
        return (self.requests - self.errors) / self.seconds


def require() -> str:
    """Return the program, or end with how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is missing. Debian: apt-get install wrk; macOS: brew install wrk.")
    return found


def press(server: Server, load: Load, seconds: float, connections: int = 8) -> Result:
    """Run a load against a server."""
    address = urlsplit(server.base)
    with tempfile.NamedTemporaryFile() as lines:
        for path, body in load.requests:
            tail = b"\t" + body if body else b""
            lines.write(f"{address.path}/{path}".encode() + tail + b"\n")
        lines.flush()
        output = subprocess.run(
            [
                *(require(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
                *("--timeout", "30s", "-s", str(_SCRIPT), f"{address.scheme}://{address.netloc}"),
                *("--", lines.name),
            ],
            env=_environment(server, load),
            check=True,
            capture_output=True,
        ).stdout
    found = orjson.loads(output.splitlines()[-1])
    return Result(
        found["requests"],
        found["seconds"],
        found["p50_ms"],
        found["p99_ms"],
        found["refused"] + found["empty"] + found["broken"],
    )


def _environment(server: Server, load: Load) -> dict[str, str]:
    given = {
        "METHOD": load.method,
        "EXPECT": load.expect,
        "TOKEN": server.headers.get("Authorization"),
    }
    return {**os.environ, **{name: value for name, value in given.items() if value}}
