"""The tour: its steps in order, each with what it took, what it gave and how long it needed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from ehr_cli import data_folder
from ehr_cli.demo import access_steps, console_output, demo_folder, steps
from ehr_cli.demo.console_output import StepOutcome
from ehr_cli.demo.server_process import run_server
from ehr_cli.settings import Settings
from ehr_fhir.errors import EhrError, Fault, Unavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ehr_etl.pipeline import LakeReport

Step = Callable[["Tour"], tuple[str, str]]


@dataclass
class Tour:
    """What the steps share."""

    settings: Settings
    console: Console
    # Spark starts while the sample loads: the JVM is a process of its own.
    starting_spark: Future[SparkSession]
    outcomes: list[StepOutcome] = field(default_factory=list)
    lake: LakeReport | None = None

    @property
    def base_url(self) -> str:
        """Return the address of the demo's server."""
        return self.settings.base_url

    @property
    def spark(self) -> SparkSession:
        """Return the one Spark session."""
        return self.starting_spark.result()

    def progress(self, text: str) -> None:
        """Say where a step is; shown on a terminal only, to keep a log short."""
        if self.console.is_terminal:
            self.console.print(f"    {text}", style="dim", highlight=False)


def run_tour(settings: Settings, *, once: bool, console: Console | None = None) -> None:
    """Take the tour; then serve until interrupted, unless `once`."""
    console = console or Console()
    demo_folder.make_demo_folder(settings.data)
    data_folder.prepare_data_folder(settings)
    with ExitStack() as server:
        # Spark ends with the steps: serving needs none.
        with ExitStack() as engine:
            tour = Tour(settings, console, _start_spark(settings, engine))
            for name, step in STEPS.items():
                _run_step(tour, name, step)
                if name == "load":
                    process = server.enter_context(run_server(settings))
        console_output.print_table(console, tour.outcomes)
        console_output.print_addresses(console, settings.base_url)
        if not once:
            console.print("Serving until Ctrl-C.")
            _serve_until_interrupted(process, console)


def _serve_until_interrupted(process: subprocess.Popen[str], console: Console) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")
        return
    raise Unavailable("The server ended by itself; server.log in the data folder may say why.")


def _run_step(tour: Tour, name: str, step: Step) -> None:
    started = time.monotonic()
    with console_output.show_running(tour.console, name):
        try:
            taken, given = step(tour)
        except Exception as error:
            if tour.settings.debug:
                raise
            # A foreign error's text may quote a record; its type cannot.
            reason = str(error) if isinstance(error, EhrError) else f"{type(error).__name__}."
            raise Fault(
                f"The demo stopped at the step '{name}': {reason} "
                "Run it again with EHR_DEBUG=1 to see where."
            ) from error
    outcome = StepOutcome(name, taken, given, time.monotonic() - started)
    tour.outcomes.append(outcome)
    console_output.print_outcome(tour.console, outcome)


def _start_spark(settings: Settings, engine: ExitStack) -> Future[SparkSession]:
    from ehr_cli.commands.lake import start_spark

    pool = engine.enter_context(ThreadPoolExecutor(1))
    starting = pool.submit(start_spark, settings)
    engine.callback(_stop_spark, starting)
    return starting


def _stop_spark(starting_spark: Future[SparkSession]) -> None:
    # A session that did not start was reported by the step that needed it.
    if starting_spark.exception() is None:
        starting_spark.result().stop()


STEPS: Mapping[str, Step] = {
    "sample": steps.place_sample,
    "load": steps.load_sample,
    "consents": steps.write_consents,
    "lake": steps.update_lake,
    "quality": steps.send_quality,
    "study": steps.run_study,
    "model": steps.train_model,
    "switch": steps.turn_sharing_off_and_on,
    "access": access_steps.run_access_requests,
}
