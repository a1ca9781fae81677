"""What the evaluation of a model costs: `.venv/bin/python -m tests.perf.bench_model_evaluation`.

Made-up predictions of 100,000 rows (as many people drawn with replacement), four predictors, five
columns of groups (37 groups), 1,000 resamples, one thread. The ratio is against drawing the rows of
each resample and calling scikit-learn for AUROC and average precision of the four predictors alone,
timed on ten resamples.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ehr_models.evaluation.bootstrap import RESAMPLES
from ehr_models.evaluation.evaluate import evaluate
from ehr_models.evaluation.sample import build_sample

_REFERENCE_DRAWS = 10
_GROUPS = {"sex": 2, "age": 4, "district": 18, "provider": 10, "language": 3}


def main() -> None:
    """Print seconds of processor time, seconds, memory and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    count = parser.parse_args().rows
    chance = np.random.default_rng(0)
    risk = chance.beta(1, 9, count)
    outcome = (chance.random(count) < risk).astype(float)
    groups = {
        name: chance.choice([f"{name}-{number}" for number in range(size)], count)
        for name, size in _GROUPS.items()
    }
    sample = build_sample(outcome, chance.integers(0, count, count), groups=groups)
    predictions = {
        "model": risk,
        "lace": np.round(risk, 2),
        "hospital": np.round(np.clip(risk + chance.normal(0, 0.03, count), 0, 1), 1),
        "prevalence": np.full(count, outcome.mean()),
    }
    started, started_processor = time.perf_counter(), time.process_time()
    evaluate(sample, predictions, model="model")
    seconds = time.perf_counter() - started
    processor = time.process_time() - started_processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    started_processor = time.process_time()
    for _ in range(_REFERENCE_DRAWS):
        drawn = chance.integers(0, count, count)
        for values in predictions.values():
            roc_auc_score(outcome[drawn], values[drawn])
            average_precision_score(outcome[drawn], values[drawn])
    reference = (time.process_time() - started_processor) / _REFERENCE_DRAWS * RESAMPLES
    sys.stdout.write(
        f"{count:,} rows, {RESAMPLES} resamples: {processor:.0f} s of one processor, "
        f"{seconds:.0f} s by the clock, {memory:.0f} MiB at most; load {os.getloadavg()[0]:.1f}. "
        f"Two figures alone, row by row: {reference:.0f} s, {reference / processor:.0f} times.\n"
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
