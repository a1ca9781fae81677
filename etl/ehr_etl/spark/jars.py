"""Delta's jars: fetched from Maven once, then read from the cache with no network.

Only the jars that PySpark does not ship itself are kept: Delta names Hadoop, Parquet and a logging
stack as dependencies, 70 MB that would shadow Spark's own copies.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ehr_fhir.errors import EhrError, Unavailable

SHIPPED_BY_SPARK = (
    "com.fasterxml.jackson.core:*",
    "com.fasterxml.jackson.datatype:*",
    "com.github.luben:*",
    "com.google.code.findbugs:*",
    "commons-logging:*",
    "commons-pool:*",
    "io.airlift:*",
    "javax.annotation:*",
    "org.apache.hadoop:*",
    "org.apache.logging.log4j:*",
    "org.apache.parquet:*",
    "org.locationtech.jts:*",
    "org.roaringbitmap:*",
    "org.slf4j:*",
    "org.xerial.snappy:*",
)


def maven_coordinate() -> str:
    """Return Delta's Maven coordinate for the installed PySpark and delta-spark."""
    spark = ".".join(version("pyspark").split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{version('delta-spark')}"


def cached_jars(cache: Path | None = None) -> list[Path]:
    """Return the cached jars, an empty list if they were not fetched yet."""
    return sorted((_cache_folder(cache) / "jars").glob("*.jar"))


def fetch_jars(
    on_progress: Callable[[str], None] = lambda text: None, cache: Path | None = None
) -> list[Path]:
    """Fetch Delta's jars into the cache unless they are there, and return them."""
    if jars := cached_jars(cache):
        return jars
    on_progress(f"Fetching Delta's jars ({maven_coordinate()}) from Maven, about 14 MB, once.")
    _fetch(maven_coordinate(), SHIPPED_BY_SPARK, _cache_folder(cache))
    return cached_jars(cache)


def fetch_packages(coordinate: str, cache: Path | None = None) -> list[Path]:
    """Fetch any package of Maven with all it needs into the cache unless it is there."""
    folder = _folder_of(coordinate, cache)
    if not folder.exists():
        _fetch(coordinate, (), folder)
    return sorted((folder / "jars").glob("*.jar"))


def _fetch(coordinate: str, excluded: Sequence[str], folder: Path) -> None:
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _resolve_with_ivy(scratch, coordinate, excluded)
        group, artifact, _ = coordinate.split(":")
        if not list((scratch / "jars").glob(f"{group}_{artifact}*.jar")):
            raise Unavailable(_failure_message(coordinate))
        # Renamed when whole: a folder that is there is complete.
        if not folder.exists():
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _resolve_with_ivy(folder: Path, coordinate: str, excluded: Sequence[str]) -> None:
    """Let Spark's own Ivy resolve a coordinate into `folder`, without starting a session."""
    from pyspark import SparkConf
    from pyspark.java_gateway import launch_gateway

    from ehr_etl.spark.java import find_java_home

    os.environ["JAVA_HOME"] = str(find_java_home())
    conf = SparkConf(loadDefaults=False)
    conf.set("spark.jars.ivy", str(folder)).set("spark.jars.packages", coordinate)
    if excluded:
        conf.set("spark.jars.excludes", ",".join(excluded))
    with (folder / "ivy.log").open("wb") as log:
        try:
            # PySpark leaves this one function untyped.
            launch: Callable[..., Any] = launch_gateway
            gateway = launch(conf, popen_kwargs={"stderr": log, "stdout": log})
        # PySpark raises its own kinds for a JVM that ended early; all mean the same here.
        except Exception as error:
            raise Unavailable(_failure_message(coordinate)) from error
        gateway.shutdown()
        # The JVM ends when its standard input closes.
        gateway.proc.stdin.close()
        gateway.proc.wait(60)


def _failure_message(coordinate: str) -> str:
    return (
        f"Jars ({coordinate}) could not be fetched from Maven Central: check the "
        "network and run `make setup` again."
    )


def _cache_folder(cache: Path | None) -> Path:
    return _folder_of(maven_coordinate(), cache)


def _folder_of(coordinate: str, cache: Path | None) -> Path:
    base = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ehr-commons" / coordinate.split(":", 1)[1].replace(":", "-")


def main() -> None:
    """Fetch the jars, saying so; `make setup` calls it."""
    try:
        fetch_jars(lambda text: _print(f"{text}\n"))
    except EhrError as error:
        sys.exit(str(error))


def _print(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
