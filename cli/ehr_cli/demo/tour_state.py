"""What the steps of the tour share, and what each returns."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from ehr_cli.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ehr_etl.lake_run import LakeReport


@dataclass(frozen=True)
class StepResult:
    """What went into a step and what came out, in a few words each."""

    input: str
    output: str


@dataclass
class Tour:
    """What the steps share."""

    settings: Settings
    console: Console
    # Spark starts while the sample loads: the JVM is a process of its own.
    starting_spark: Future[SparkSession]
    # Set by the step that updates the lake.
    lake_report: LakeReport | None = None

    @property
    def base_url(self) -> str:
        """Return the address of the demo's server."""
        return self.settings.base_url

    @property
    def spark(self) -> SparkSession:
        """Return the one Spark session; wait until it has started."""
        return self.starting_spark.result()

    def print_progress(self, text: str) -> None:
        """Say where a step is; on a terminal only, to keep a log short."""
        if self.console.is_terminal:
            self.console.print(f"    {text}", style="dim", highlight=False)
