"""What it takes to score many people: `make bench-model-scoring` (PEOPLE="1000 10000").

The views of made-up people (`bench_model_features`: ten encounters, eighty records each) go through
`ehr models score`'s own way: rows whose outcome may still come, their features, predictions with
the model, transactions as JSON. About six in a hundred left acute care within the horizon. The
gateway that takes them is not part of it. The reference of the run is the frame of all rows, as a
training makes it, up to `--reference` people. More than 100,000 people are scored part after part.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files

import pyarrow as pa

from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.learners.tuning import Rows, fit_best
from ehr_models.registry import get_task
from ehr_models.risk_assessments import ScoringRun, build_transaction
from ehr_models.score import predict_current
from ehr_models.task_file import parse_declaration, read_document
from ehr_models.write_back import BATCH_PATIENTS
from tests.perf.bench_model_features import PART, make_tables

_AS_OF = datetime(2024, 10, 1, 12, tzinfo=UTC)
_LEARNT_FROM = 2000


def main() -> None:
    """Print what each step takes, by the number of people."""
    wanted = _arguments()
    task = get_task("readmission-28d")
    declared = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    learnt = build_frame(declared, make_tables(declared, _LEARNT_FROM))
    model = fit_best(("boosting",), Rows.of_frame(learnt))
    for people in wanted.people:
        steps: dict[str, list[float]] = {}
        scored = 0
        for _ in range(max(1, people // PART)):
            views = _add_deaths(make_tables(declared, min(people, PART)))
            if people <= wanted.reference:
                with _timed(steps, "reference"):
                    build_frame(declared, views, learnt.codes)
            with _timed(steps, "scores"):
                found = predict_current(task, model, views, _AS_OF, learnt.codes)
            with _timed(steps, "transactions"):
                run = ScoringRun(task, "1", _AS_OF)
                for first in range(0, len(found.current), BATCH_PATIENTS):
                    batch = found.current[first : first + BATCH_PATIENTS]
                    json.dumps(build_transaction(run, batch))
            scored += len(found.current)
        _print(people, scored, steps)


def _add_deaths(views: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    people = views["patient_demographics"]
    deceased = pa.array([number % 50 == 0 for number in range(len(people))], pa.bool_())
    return {**views, "patient_demographics": people.append_column("deceased", deceased)}


@contextmanager
def _timed(steps: dict[str, list[float]], name: str) -> Iterator[None]:
    """Add what a step takes, by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    taken = steps.setdefault(name, [0.0, 0.0])
    taken[0] += time.perf_counter() - clock
    taken[1] += time.process_time() - processor


def _print(people: int, scored: int, steps: Mapping[str, list[float]]) -> None:
    told = "; ".join(f"{name} {s[0]:.1f} s, {s[1]:.2f} s of CPU" for name, s in steps.items())
    ratio = ""
    if "reference" in steps:
        ratio = f"; scores {steps['scores'][1] / steps['reference'][1]:.2f} of the reference"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{people:>9,} people, {scored:,} scored: {told}{ratio}; {memory:.1f} GB, load {load:.1f}\n"
    )
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--reference", type=int, default=10_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
