"""One finished run of `ehr demo --once`, shared by every test that looks at what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lib.ports import free_port

__all__ = ["Demo", "demo"]


@dataclass(frozen=True)
class Demo:
    """One finished run."""

    data: Path
    output: str
    port: int


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    data = tmp_path_factory.mktemp("demo") / "data"
    port = free_port()
    command = [sys.executable, "-m", "ehr_cli.main", "demo", "--once"]
    ran = subprocess.run(
        [*command, "--data", str(data), "--port", str(port)],
        cwd=data.parent,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        # The usual one, by which others may read.
        umask=0o022,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Demo(data, ran.stdout, port)
