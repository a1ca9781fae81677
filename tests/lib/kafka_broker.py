"""A Kafka broker in KRaft mode, started by the test that needs it, with jars from Maven."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest

from ehr_etl.spark.jars import fetch_packages
from ehr_etl.spark.java import find_java_home
from tests.lib.ports import free_port

COORDINATE = "org.apache.kafka:kafka_2.13:3.9.1"
_START_SECONDS = 600


@dataclass(frozen=True)
class KafkaBroker:
    """A running broker."""

    address: str


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Start a broker; end it with the tests."""
    folder = tmp_path_factory.mktemp("kafka")
    # Spark's Ivy leaves out what Spark ships itself.
    scala = (Path(pyspark.__file__).parent / "jars").glob("scala-library-*.jar")
    jars = [*fetch_packages(COORDINATE), *scala]
    port, controller = free_port(), free_port()
    settings = folder / "server.properties"
    settings.write_text(
        "process.roles=broker,controller\nnode.id=1\n"
        f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
        "controller.listener.names=CONTROLLER\n"
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
        "offsets.topic.replication.factor=1\n"
        f"log.dirs={folder / 'logs'}\n"
    )
    java = [str(find_java_home() / "bin" / "java"), "-Xmx512m", "-XX:TieredStopAtLevel=1",
            "-cp", ":".join(map(str, jars))]  # fmt: skip
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    with (folder / "broker.log").open("wb") as log:
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)],
            stdout=log, stderr=log, check=True, timeout=600,
        )  # fmt: skip
        process = subprocess.Popen([*java, "kafka.Kafka", str(settings)], stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            yield KafkaBroker(f"127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(120)
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError("The Kafka broker did not start: see its log.")
