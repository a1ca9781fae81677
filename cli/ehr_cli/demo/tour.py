"""The tour: its steps in order, each with its input, its output and how long it took."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.console import Console

from ehr_cli import data_folder
from ehr_cli.demo import access_steps, console_output, demo_folder, steps
from ehr_cli.demo.console_output import TimedStep
from ehr_cli.demo.server_process import run_server
from ehr_cli.demo.tour_state import StepResult, Tour
from ehr_cli.settings import Settings
from ehr_fhir.errors import EhrError, Fault, Unavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Step = Callable[[Tour], StepResult]


def run_tour(settings: Settings, *, once: bool, console: Console | None = None) -> None:
    """Run every step of the tour; then serve until interrupted, unless `once`."""
    console = console or Console()
    demo_folder.make_demo_folder(settings.data)
    data_folder.prepare_data_folder(settings)
    timed_steps = []
    with ExitStack() as server_stack:
        # Spark ends with the steps: serving needs none.
        with ExitStack() as spark_stack:
            tour = Tour(settings, console, _start_spark(settings, spark_stack))
            for name, step in STEPS.items():
                timed_steps.append(_run_step(tour, name, step))
                # All further steps ask the gateway over HTTP.
                if name == "load":
                    process = server_stack.enter_context(run_server(settings))
        console_output.print_steps(console, timed_steps)
        console_output.print_log_ins(console)
        if not once:
            console_output.print_addresses(console, settings.base_url)
            console.print("Serving until Ctrl-C.")
            _serve_until_interrupted(process, console)
    if once:
        console_output.print_next_command(console, settings)


def _serve_until_interrupted(process: subprocess.Popen[str], console: Console) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")
        return
    raise Unavailable("The server ended by itself; server.log in the data folder may say why.")


def _run_step(tour: Tour, name: str, step: Step) -> TimedStep:
    started = time.monotonic()
    with console_output.show_running(tour.console, name):
        try:
            result = step(tour)
        except Exception as error:
            if tour.settings.debug:
                raise
            # A foreign error's text may quote a record; its type cannot.
            reason = str(error) if isinstance(error, EhrError) else f"{type(error).__name__}."
            raise Fault(
                f"The demo stopped at the step '{name}': {reason} "
                "Run it again with EHR_DEBUG=1 to see where."
            ) from error
    timed_step = TimedStep(name, result, time.monotonic() - started)
    console_output.print_step(tour.console, timed_step)
    return timed_step


def _start_spark(settings: Settings, stack: ExitStack) -> Future[SparkSession]:
    from ehr_cli.commands.lake_access import start_spark

    pool = stack.enter_context(ThreadPoolExecutor(1))
    starting_spark = pool.submit(start_spark, settings)
    stack.callback(_stop_spark, starting_spark)
    return starting_spark


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
    "verdict": steps.judge_on_hospital_data,
    "switch": steps.turn_sharing_off_and_on,
    "access": access_steps.run_access_requests,
}
