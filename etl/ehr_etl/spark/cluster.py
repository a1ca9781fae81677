"""Parts of a job on the executors of a Spark cluster, with this software sent along.

Spark deals out the parts, starts the processes and tries a lost part again; the rows are read and
written by the executors themselves (`ehr_etl.jobs`). Executors need the same Python and the same
libraries as the driver, and reach the lake's tables by the same address: a shared folder, or an
object store.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from ehr_etl.jobs import RunParts

__all__ = ["SparkRunner", "pack_software"]

# What a part of a rebuild imports.
_PACKAGES = ("ehr_etl", "ehr_fhir", "ehr_privacy")


@dataclass(frozen=True)
class SparkRunner:
    """Runs parts on a Spark cluster; `start` gives the session when there is work."""

    start: Callable[[], SparkSession]
    # How many parts are worked on at once: several for each core of a small cluster. Chosen.
    slots: int = 8

    @contextmanager
    def open(self, rows: int) -> Iterator[RunParts]:
        """Return what runs the parts of jobs over about so many rows."""
        is_sent = False

        def run(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterable[Any]:
            nonlocal is_sent
            from ehr_etl.spark.java_errors import translate_java_errors

            context = self.start().sparkContext
            with translate_java_errors("running a job on the cluster"):
                if not is_sent:
                    _send_software(context)
                    is_sent = True
                if not parts:
                    return []
                # A task for each part. What comes back are names of files and counts, no rows.
                numbered = context.parallelize(list(enumerate(parts)), len(parts))
                results = numbered.map(lambda part: (part[0], work(part[1]))).collect()
            return [result for _, result in sorted(results, key=lambda found: int(found[0]))]

        yield run


def pack_software(folder: Path) -> Path:
    """Write the packages that a part imports to a zip archive, which Python imports from."""
    archive = folder / "ehr-commons.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for package in _PACKAGES:
            root = Path(str(files(package)))
            for file in sorted(root.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, f"{package}/{file.relative_to(root)}")
    return archive


def _send_software(context: Any) -> None:  # Any: PySpark's context has untyped attributes
    # Executors fetch it from where it is, whenever one starts.
    folder = Path(context.getConf().get("spark.local.dir"))
    folder.mkdir(parents=True, exist_ok=True)
    context.addPyFile(str(pack_software(folder)))
