"""A return model over three organisations that share no row: `-m tests.perf.bench_federated`.

The Diabetes-130 table that comes with the platform names no hospital, so the organisations are made
up: stays whose medical specialty is not told, those of internal, family and emergency medicine, and
those of all other specialties. A person's stays go where the first of them in the file is. Of each
organisation a quarter of the people is held out. Ridge logistic regression on all features of the
mapping but the specialty, learnt from the other people: over all three by masked sums, of their
pooled rows, and of each organisation's own. Not a test: it prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ehr_models.federated import FederatedModel, Site, fit_federated
from ehr_models.federated.site import standardise
from ehr_models.imports.import_store import read_import
from ehr_models.imports.table_import import find_sample, import_table
from ehr_models.registry import get_task
from ehr_models.task import ENCOUNTER, PATIENT

SAMPLE = "readmission-diabetes130"
GENERAL = ("InternalMedicine", "Family/GeneralPractice", "Emergency/Trauma")
SITES = ("specialty not told", "general medicine", "other specialties")
# Penalty of the weights, for all alike.
PENALTY = 100.0
_HELD_OUT, _SEED = 0.25, 28

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def read_rows(one_in: int) -> pd.DataFrame:
    """Return the frame of the import, with the organisation of each row as `site`."""
    sample = find_sample(SAMPLE)
    assert sample is not None
    with tempfile.TemporaryDirectory() as folder:
        data, now = Path(folder), datetime.now(UTC)
        import_table(sample, SAMPLE, get_task("readmission-28d"), SAMPLE, data, now, one_in=one_in)
        rows = read_import(data, SAMPLE).tables["frame"]
    source = pd.read_parquet(sample, columns=["encounter_id", "medical_specialty"])
    specialty = rows[ENCOUNTER].map(
        source.set_index(source["encounter_id"].astype(str))["medical_specialty"]
    )
    site = np.select([specialty == "?", specialty.isin(GENERAL)], SITES[:2], SITES[2])
    return rows.assign(site=pd.Series(site, rows.index).groupby(rows[PATIENT]).transform("first"))


def fit_pooled(features: Floats, outcome: Floats) -> FederatedModel:
    """Return the model of rows that are all in one place, by scikit-learn."""
    mean, scale = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    scale[scale < 1e-9] = 1.0
    inputs = standardise(features, mean, scale)[:, 1:]
    regression = LogisticRegression(C=1 / PENALTY, solver="newton-cholesky", tol=1e-10)
    regression.fit(inputs, outcome)
    weights = np.concatenate([regression.intercept_, regression.coef_[0]])
    return FederatedModel(mean, scale, weights, 0)


def measure(rows: pd.DataFrame, names: list[str]) -> list[tuple[str, list[float], float, float]]:
    """Return of each way: its name, AUROC by organisation and over all, and the time of fitting."""
    features = rows[names].to_numpy(dtype=float)
    outcome = rows["returned"].to_numpy(dtype=float)
    people, site = rows[PATIENT].to_numpy(), rows["site"].to_numpy()
    drawn = np.random.default_rng(_SEED).permutation(len(set(people.tolist())))
    test: Mask = (drawn < _HELD_OUT * len(drawn))[pd.factorize(people)[0]]

    def learn_federated() -> FederatedModel:
        own = [~test & (site == name) for name in SITES]
        return fit_federated(
            [
                Site(name, features[chosen], outcome[chosen], people[chosen])
                for name, chosen in zip(SITES, own, strict=True)
            ],
            PENALTY,
        )

    def learn_pooled(chosen: Mask) -> FederatedModel:
        return fit_pooled(features[chosen], outcome[chosen])

    ways: dict[str, Callable[[], FederatedModel]] = {
        "three organisations, masked sums": learn_federated,
        "pooled rows": partial(learn_pooled, ~test),
    }
    for name in SITES:
        ways[f"alone: {name}"] = partial(learn_pooled, ~test & (site == name))
    found = []
    for way, learn in ways.items():
        started, processor = time.perf_counter(), time.process_time()
        model = learn()
        processor, seconds = time.process_time() - processor, time.perf_counter() - started
        predicted = model.predict(features[test])
        held = site[test]
        aurocs = [
            float(roc_auc_score(outcome[test][held == name], predicted[held == name]))
            for name in SITES
        ]
        aurocs.append(float(roc_auc_score(outcome[test], predicted)))
        found.append((way, aurocs, processor, seconds))
    return found


def main() -> None:
    """Print the organisations, and a table of the ways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one-in", type=int, default=1)
    rows = read_rows(parser.parse_args().one_in)
    excluded = ("site", "returned", PATIENT, ENCOUNTER)
    names = [
        name
        for name in rows.select_dtypes("number").columns
        if name not in excluded and not name.startswith(("specialty", "oncology"))
    ]
    for name, own in rows.groupby("site", sort=False):
        sys.stdout.write(
            f"{name}: {len(own):,} stays of {own[PATIENT].nunique():,} people, "
            f"{own['returned'].mean():.1%} came back\n"
        )
    found = measure(rows, names)
    sys.stdout.write(f"{len(names)} features; load {os.getloadavg()[0]:.1f}\n\n")
    sys.stdout.write(f"| learnt from | {' | '.join(SITES)} | all | processor | clock |\n")
    sys.stdout.write(f"| --- |{' --- |' * (len(SITES) + 3)}\n")
    for way, aurocs, processor, seconds in found:
        told = " | ".join(f"{value:.3f}" for value in aurocs)
        sys.stdout.write(f"| {way} | {told} | {processor:.1f} s | {seconds:.1f} s |\n")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
