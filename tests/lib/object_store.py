"""An S3-compatible object store in a process of its own: moto's server."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.lib.ports import free_port

_START_SECONDS = 600


@dataclass(frozen=True)
class ObjectStore:
    """A folder of a bucket, and what delta-rs needs to reach it."""

    url: str
    options: Mapping[str, str]


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """Start the server with one bucket."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(f"{address}/lake-bucket", process)
        yield ObjectStore(
            "s3://lake-bucket/lake",
            {
                "AWS_ENDPOINT_URL": address,
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
                # S3 refuses to overwrite a version of a table that is there.
                "aws_conditional_put": "etag",
            },
        )
    finally:
        process.terminate()
        process.wait(120)


def _make_bucket(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    request = urllib.request.Request(url, method="PUT")
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("moto's server did not start.")
