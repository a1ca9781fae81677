"""What training with its evaluation takes: `make bench-model-training` (ONE_IN="8 4 2").

The table of real stays that comes with the platform (Diabetes-130), and of it one person in so
many: cross-validation of both learners with intervals by bootstrap, then the fit of the model to
all rows (`train_model` without MLflow and the pages of the report). The reference of the run is
scikit-learn's own gradient boosting, fitted to the same rows once on one thread, and its
predictions of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ehr_models.evaluate import cross_validate
from ehr_models.imports.table_import import find_sample, import_table
from ehr_models.learners.tuning import Rows, fit_best
from ehr_models.registry import get_task
from ehr_models.train import read_task_data

_NAME = "readmission-diabetes130"


def main() -> None:
    """Print what the steps take for each share of the people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one_in", nargs="*", type=int, default=[16, 8])
    wanted = parser.parse_args()
    sample = find_sample(_NAME)
    if sample is None:
        raise SystemExit("The sample is not there.")
    for one_in in wanted.one_in:
        with tempfile.TemporaryDirectory() as folder:
            _measure(sample, Path(folder), one_in)


def _measure(sample: Path, data: Path, one_in: int) -> None:
    task = get_task("readmission-28d")
    now = datetime.now(UTC)
    import_table(sample, _NAME, task, "part", data, now, one_in=one_in)
    task, tables = read_task_data(task, data, "part")
    frame = task.build_frame(tables.views)
    rows = Rows.of_frame(frame)

    def fit_plainly() -> None:
        # Threads that wait for each other would count as its work.
        with threadpool_limits(1):
            plain = HistGradientBoostingClassifier(random_state=0).fit(rows.inputs, rows.outcome)
            plain.predict_proba(rows.inputs)

    reference = _time(fit_plainly)
    judged = _time(lambda: cross_validate(task, frame))
    fitted = _time(lambda: fit_best(task.learners, rows))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(
        f"one in {one_in}: {len(rows.outcome):,} stays, {len(rows.features)} features;"
        f" reference {reference[1]:.1f} s of CPU; evaluation {judged[0]:.1f} s,"
        f" {judged[1]:.1f} s of CPU ({judged[1] / reference[1]:.1f} references);"
        f" last fit {fitted[1]:.1f} s of CPU ({fitted[1] / reference[1]:.1f});"
        f" {memory:.1f} GB, load {os.getloadavg()[0]:.1f}\n"
    )
    sys.stdout.flush()


def _time(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor that work takes."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    main()
