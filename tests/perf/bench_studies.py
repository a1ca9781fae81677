"""Time of the studies that come along: `python -m tests.perf.bench_studies [PEOPLE] [NAME ...]`.

On made-up people, from the tables of the lake to cells (run) and to what may leave, with its plots
(airlock). Not a test: it prints seconds by the clock and of the processor, and the load.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from ehr_analytics import airlock, cohort_study, study
from ehr_analytics.cohorts.project_run import find_sources, list_data_items
from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from tests.lib.research import DRAFT, open_project, register
from tests.lib.study_population import make_population, write_population

NAMES = ("acute-returns", "length-of-stay", "polypharmacy", "drug-outcomes")


def measure(book: Register, name: str) -> None:
    """Run a study and print what it takes."""
    plan = cohort_study.load_cohort_study(study.bundled_study_path(name))
    items = list_data_items(plan.cohort, find_sources(Lake(book.data / "lake"), plan.cohort))
    open_project(book, id=plan.project, items=items)
    started, cpu = time.perf_counter(), time.process_time()
    run = cohort_study.run_cohort_study(book, plan, DRAFT.applicant, withheld=())
    ran, ran_cpu = time.perf_counter(), time.process_time()
    proposal = airlock.propose_outputs(book, run.id, DRAFT.applicant)
    ended, ended_cpu = time.perf_counter(), time.process_time()
    print(  # noqa: T201
        f"{name:16} run {ran - started:6.1f} s ({ran_cpu - cpu:.1f} of CPU), airlock "
        f"{ended - ran:6.1f} s ({ended_cpu - ran_cpu:.1f} of CPU), passed {proposal.passed}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Print the seconds of each study."""
    people = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        write_population(Path(folder), make_population(people))
        book = register(Path(folder))
        for name in sys.argv[2:] or NAMES:
            measure(book, name)


if __name__ == "__main__":
    main()
