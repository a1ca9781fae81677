"""The one Spark session: PySpark with Delta, quiet, sized for a small machine by default."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from ehr_etl.spark import jars
from ehr_etl.spark.java import find_java_home
from ehr_fhir.errors import Unavailable

__all__ = ["SparkSettings", "silence_query_loggers", "spark_session"]

# PySpark's own loggers print the whole message of a failed query, which can quote values.
_QUERY_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
# Executors elsewhere find the driver by its name in the network.
_THIS_MACHINE = MappingProxyType(
    {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
)


@dataclass(frozen=True)
class SparkSettings:
    """The settings of an operator: any Spark master, and the memory of the driver."""

    master: str = "local[*]"
    memory: str = "2g"
    # Runs are short and cores few: the second compiler and the parallel collector cost more than
    # they give back (measured over one run of the lake: 50 s of processor time against 29 s).
    java_options: str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    jar_cache: Path | None = None


def spark_session(
    work: Path,
    settings: SparkSettings | None = None,
    *,
    on_progress: Callable[[str], None] = lambda text: None,
) -> SparkSession:
    """Return the running session, or start one whose scratch files lie under `work`."""
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    settings = settings or SparkSettings()
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["JAVA_HOME"] = str(find_java_home())
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if _is_on_this_machine(settings.master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    delta_jars = jars.fetch_jars(on_progress, settings.jar_cache)
    with as_file(files(__package__) / "log4j2.properties") as log_settings:
        conf = SparkConf(loadDefaults=False)
        conf.setAll(list(_spark_options(settings, work, delta_jars, log_settings).items()))
        return _start_session(conf, work)


def _is_on_this_machine(master: str) -> bool:
    return master.startswith(("local", "spark://127.0.0.1"))


def _start_session(conf: SparkConf, work: Path) -> SparkSession:
    # The JVM prints warnings before any log setting holds; they go to a file, not to the user.
    with (work / "jvm.log").open("wb") as log:
        try:
            # PySpark leaves this one function untyped.
            launch: Callable[..., Any] = launch_gateway
            gateway = launch(conf, popen_kwargs={"stderr": log})
            context = SparkContext(conf=conf, gateway=gateway)
        except Exception as error:  # PySpark raises several kinds for a JVM that did not start.
            raise Unavailable(
                f"Spark did not start: see {work / 'jvm.log'} for the Java message."
            ) from error
    silence_query_loggers()
    return SparkSession(context)


def silence_query_loggers() -> None:
    """Silence the loggers that would print a failed query, for the life of the process."""
    from pyspark.logger import PySparkLogger

    for name in _QUERY_LOGGERS:
        # By PySpark's own class, which takes the arguments PySpark logs with; by level, since
        # `disabled` is undone by any library that configures logging, as MLflow's migrations do.
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL + 1)


def _spark_options(
    settings: SparkSettings, work: Path, delta_jars: list[Path], log_settings: Path
) -> Mapping[str, str]:
    return {
        "spark.app.name": "ehr-commons",
        "spark.master": settings.master,
        "spark.driver.memory": settings.memory,
        **(_THIS_MACHINE if _is_on_this_machine(settings.master) else {}),
        "spark.driver.extraJavaOptions": (
            f"-Dlog4j2.configurationFile={log_settings.as_uri()} {settings.java_options}"
        ),
        "spark.jars": ",".join(str(jar) for jar in delta_jars),
        "spark.local.dir": str(work / "spark"),
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # A product of decimals keeps its places, or is refused: views' numbers are exact.
        "spark.sql.decimalOperations.allowPrecisionLoss": "false",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Hadoop sets the modes of files itself, by default for everybody to read.
        "spark.hadoop.fs.permissions.umask-mode": "077",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Small tables on two cores: the defaults (200 and 50) cost tens of seconds.
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
