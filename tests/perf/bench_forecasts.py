"""Time to train both forecasts: `python -m tests.perf.bench_forecasts [HOSPITALS] [DAYS]`.

Simulated hospitals; every forecaster is tested by rolling origins, chosen, judged and fitted anew
on all days, on one thread, as `ehr models forecast train` does before it stores the result. Prints
the wall clock, the CPU and the load of the machine. Not a test.
"""

from __future__ import annotations

import argparse
import os
import time

import pandas as pd

from ehr_models.forecasting.calendar_days import NO_WEATHER, read_holidays
from ehr_models.forecasting.metrics import INTERVALS
from ehr_models.forecasting.panel import build_panel
from ehr_models.forecasting.simulation import simulate
from ehr_models.forecasting.tasks import TASKS
from ehr_models.forecasting.train import train


def main() -> None:
    """Train each task once and print what it took, and how good it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hospitals", nargs="?", type=int, default=18)
    parser.add_argument("days", nargs="?", type=int, default=1096)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    holidays = read_holidays()
    made = simulate(
        options.hospitals, pd.Timestamp(2024, 1, 1), options.days, holidays, options.seed
    )
    for key in TASKS:
        panel = build_panel(getattr(made, key))
        wall, cpu = time.perf_counter(), time.process_time()
        trained = train(panel, holidays, NO_WEATHER, seed=0)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        load = os.getloadavg()[0]
        print(f"{key}: {wall:.1f} s, CPU {cpu:.1f} s, load {load:.1f}; {trained.verdict}")  # noqa: T201
        for name, table in trained.scores.items():
            every = table.every
            shares = "  ".join(f"{every.coverage[nominal].value:.3f}" for nominal in INTERVALS)
            worst = max(own.mase for own in table.each)
            print(  # noqa: T201
                f"  {name:24} MAE {every.mae:6.2f}  MASE {every.mase:.3f} (worst {worst:.3f})"
                f"  relative MAE {every.relative_mae:.3f}  pinball {every.pinball:.2f}"
                f"  coverage {shares}  DM p {every.comparison.p_value:.1e}"
            )


if __name__ == "__main__":
    main()
