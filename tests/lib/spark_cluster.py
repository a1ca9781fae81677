"""A Spark standalone master with workers, as processes of this machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

from ehr_etl.spark.java import find_java_home
from tests.lib.ports import free_port

_START_SECONDS = 600


@contextmanager
def run_standalone(folder: Path, workers: int) -> Iterator[str]:
    """Run a master and its workers; give the master's address."""
    folder.mkdir(parents=True)
    home = Path(pyspark.__file__).parent
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    java = [str(find_java_home() / "bin" / "java"), "-XX:TieredStopAtLevel=1", "-cp",
            f"{home / 'jars'}/*"]  # fmt: skip
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1",
                   "JAVA_HOME": str(find_java_home()), "SPARK_SCALA_VERSION": "2.13"}  # fmt: skip
    commands = [
        ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port),
         "--webui-port", "0"],
        *(["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "1",
           "--memory", "1g", "--webui-port", "0", "--work-dir", str(folder / f"worker{number}"),
           master] for number in range(workers)),
    ]  # fmt: skip
    with ExitStack() as stack:
        logs = []
        for number, command in enumerate(commands):
            logs.append(folder / f"{number}.log")
            log = stack.enter_context(logs[-1].open("wb"))
            process = subprocess.Popen([*java, *command], env=environment, stdout=log, stderr=log)
            stack.callback(_end, process)
        deadline = time.monotonic() + _START_SECONDS
        while not all("Successfully registered" in log.read_text() for log in logs[1:]):
            if time.monotonic() > deadline:
                raise RuntimeError(f"The cluster did not start: {logs[-1].read_text()[-2000:]}")
            time.sleep(0.5)
        yield master


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(120)
