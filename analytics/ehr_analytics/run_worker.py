"""The process of one run: `python -m ehr_analytics.run_worker DATA RUN`.

A run may need much memory and ends its process where it gets none; the gateway goes on. It has none
of the gateway's settings, among which are secrets. Standard input tells whom it leaves out by the
decisions of when it began: the lake's pseudonyms as a JSON list.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics import run_queue
from ehr_analytics.code_run import run_code
from ehr_analytics.cohort_study import parse_cohort_study, store_cohort_run
from ehr_analytics.cohorts.project_run import prepare_project_cohort
from ehr_analytics.live_counts import ShownStep, control_attrition
from ehr_analytics.register import Register
from ehr_analytics.run_queue import COHORT_STUDY, RequestedRun
from ehr_analytics.withheld import ChangedSubjects, find_withheld_people
from ehr_fhir.errors import EhrError

__all__ = ["execute_run", "run_waiting", "start_waiting"]

# Chosen: far more than a study of a million people takes.
_SECONDS = 3600.0
_NO_END = "The run ended without an answer: it needed more memory or time than it may have."
_FAULT = "The run failed by a fault of the platform."
_CODE_FAILED = "The code did not end well. Try it on dummy data: its error may quote a row."
# One run at a time in each process: the others wait in their threads.
_run_lock = threading.Lock()


def start_waiting(register: Register, changed: ChangedSubjects) -> None:
    """Run what waits, on a thread of its own; `changed` tells whom the lake may not know yet."""
    threading.Thread(
        target=run_waiting, args=(register, changed), name="research-runs", daemon=True
    ).start()


def run_waiting(register: Register, changed: ChangedSubjects) -> None:
    """Run what waits, one run at a time, each in a process of its own, until nothing waits."""
    with _run_lock:
        while (claimed := run_queue.claim_next(register)) is not None:
            run_id, lock = claimed
            with lock:
                try:
                    # Late: the decisions of this moment, however long it waited.
                    withheld = find_withheld_people(register.data, changed)
                except EhrError as error:
                    run_queue.end_run(register, run_id, fault=str(error))
                else:
                    _run_in_process(register, run_id, lock.fileno(), withheld)


def execute_run(register: Register, run_id: str, withheld: Collection[str]) -> None:
    """Carry out a run that was claimed without some people; say in the register how it ended."""
    run = run_queue.get_requested_run(register, run_id)
    steps: tuple[ShownStep, ...] = ()
    try:
        if run.kind == COHORT_STUDY:
            fault, steps = "", _run_cohort_study(register, run, withheld)
        else:
            fault = _run_own_code(register, run, withheld)
    except EhrError as error:
        # Errors of the platform hold no value of a record.
        fault = str(error)
    except Exception:  # its text may quote a row
        fault = _FAULT
    run_queue.end_run(register, run_id, fault=fault, steps=steps)


def _run_cohort_study(
    register: Register, run: RequestedRun, withheld: Collection[str]
) -> tuple[ShownStep, ...]:
    # The rights may have ended while it waited.
    project = projects.get_project(register, run.project)
    study = parse_cohort_study(run.definition, run.project)
    person = run.person
    prepared = prepare_project_cohort(
        register, project, study.cohort, person.name, other_names=person.names
    )
    result, tables = prepared.run(withheld=withheld), prepared.versions
    run_queue.append_line(register, run.id, "The cohort is made; its analyses begin.")
    store_cohort_run(register, study, person.name, result, tables, run.id)
    return control_attrition(register, project, person.name, study.cohort, result.attrition)


def _run_own_code(register: Register, run: RequestedRun, withheld: Collection[str]) -> str:
    person = run.person
    _, has_ended_well = run_code(
        register, run.project, run.definition, run.outputs, person.name,
        withheld=withheld, other_names=person.names, run_id=run.id,
    )  # fmt: skip
    return "" if has_ended_well else _CODE_FAILED


def _run_in_process(register: Register, run_id: str, lock: int, withheld: Collection[str]) -> None:
    environment = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    with subprocess.Popen(  # noqa: S603 - our own interpreter and words
        [sys.executable, "-m", "ehr_analytics.run_worker", str(register.data), run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # What a library prints may quote a value.
        stderr=subprocess.DEVNULL,
        env=environment,
        # It holds the lock too: a run that outlives its gateway is running.
        pass_fds=(lock,),
    ) as process:
        try:
            process.communicate(json.dumps(sorted(withheld)).encode(), timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
    run_queue.end_run(register, run_id, fault=_NO_END)


def main() -> None:
    """Carry out the run that the command line names."""
    data, run_id = sys.argv[1:]
    execute_run(Register(Path(data)), run_id, json.load(sys.stdin))


if __name__ == "__main__":
    main()
