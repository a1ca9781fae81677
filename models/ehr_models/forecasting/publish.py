"""A trained forecast as files of a signed version, and as a run of the tracking store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_models import tracking
from ehr_models.forecasting.forecaster import HORIZON, LEVELS, MEDIAN
from ehr_models.forecasting.metrics import INTERVALS
from ehr_models.forecasting.plot import draw_forecast
from ehr_models.forecasting.release import POLICY, control_rows
from ehr_models.forecasting.tasks import ForecastTask
from ehr_models.forecasting.train import Trained
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.train import hash_code
from ehr_models.version_files import GATES_FILE, write_gates

__all__ = [
    "CONTROLLED_FILE", "FORECAST_FILE", "PLOT_FILE", "REPORT_FILE", "TABLE_FILE",
    "Provenance", "build_files", "publish", "tabulate",
]  # fmt: skip

# Of the trusted zone, except the controlled file.
FORECAST_FILE, TABLE_FILE, PLOT_FILE = "forecast.json", "forecast.csv", "forecast.svg"
REPORT_FILE, CONTROLLED_FILE = "report.json", "controlled.json"
QUANTILE_COLUMNS = tuple(f"q{level * 100:g}" for level in LEVELS)


@dataclass(frozen=True)
class Provenance:
    """Where counts came from, in words, and the versions of the tables they were made of."""

    source: str
    tables: Mapping[str, int]
    seed: int


def publish(
    task: ForecastTask, trained: Trained, provenance: Provenance, data: Path, now: datetime
) -> ModelVersion:
    """Log a run, then save a signed version with the forecasts and how they were judged."""
    files = build_files(task, trained, provenance, now)
    mlflow = tracking.open_store(task, data)
    with mlflow.start_run(run_name=f"forecast {now:%Y-%m-%d %H:%M}") as run:
        mlflow.log_params(
            {
                "hospitals": len(trained.panel.hospitals),
                "days": len(trained.panel),
                "last_day": f"{trained.panel.last_day:%Y-%m-%d}",
                "data.sha256": trained.panel.digest,
                "seed": provenance.seed,
                **{f"table.{name}": number for name, number in provenance.tables.items()},
            }
        )
        mlflow.set_tags(
            {"code.sha256": hash_code(), "verdict": trained.verdict, "served": trained.served}
        )
        mlflow.log_metrics(_flatten_scores(trained))
        for name in (REPORT_FILE, PLOT_FILE, TABLE_FILE):
            mlflow.log_text(files[name].decode(), name)
        report = json.loads(files[REPORT_FILE]) | {"run": run.info.run_id}
    return ModelStore(data).save_version(task.name, {**files, REPORT_FILE: _to_json(report)}, now)


def tabulate(trained: Trained) -> list[dict[str, Any]]:
    """Return the forecasts: a row per hospital and day, with a column per quantile."""
    days = trained.panel.list_days(len(trained.panel) + HORIZON)[-HORIZON:]
    return [
        {
            "hospital": hospital,
            "day": f"{day:%Y-%m-%d}",
            **{
                name: round(float(value), 2)
                for name, value in zip(QUANTILE_COLUMNS, quantiles, strict=True)
            },
        }
        for hospital, own in zip(trained.panel.hospitals, trained.quantiles, strict=True)
        for day, quantiles in zip(days, own, strict=True)
    ]


def build_files(
    task: ForecastTask, trained: Trained, provenance: Provenance, now: datetime
) -> dict[str, bytes]:
    """Return the files of a version by name."""
    rows = tabulate(trained)
    head = {
        "task": task.key,
        "title": task.title,
        "unit": task.unit,
        "made_at": now.isoformat(timespec="seconds"),
        "last_day": f"{trained.panel.last_day:%Y-%m-%d}",
        "served": trained.served,
        "verdict": trained.verdict,
        "levels": dict(zip(QUANTILE_COLUMNS, LEVELS, strict=True)),
    }
    median = QUANTILE_COLUMNS[MEDIAN]
    controlled = control_rows(rows, QUANTILE_COLUMNS, median, trained.served)
    return {
        FORECAST_FILE: _to_json({**head, "rows": rows}),
        TABLE_FILE: pd.DataFrame(
            [{**row, "hospital": _escape_formula(row["hospital"])} for row in rows]
        )
        .to_csv(index=False)
        .encode(),
        PLOT_FILE: draw_forecast(trained, task.title, task.unit),
        CONTROLLED_FILE: _to_json({**head, "policy": POLICY, "rows": controlled}),
        REPORT_FILE: _to_json({**head, **_describe(trained, provenance)}),
        GATES_FILE: write_gates(trained.gates),
    }


def _describe(trained: Trained, provenance: Provenance) -> dict[str, Any]:
    return {
        "candidate": trained.candidate,
        "gates": [asdict(gate) for gate in trained.gates],
        "data": {
            "source": provenance.source,
            "tables": dict(provenance.tables),
            "sha256": trained.panel.digest,
            "first_day": f"{trained.panel.first_day:%Y-%m-%d}",
            "hospitals": list(trained.panel.hospitals),
            "left_out": dict(trained.left_out),
        },
        "seed": provenance.seed,
        "code_sha256": hash_code(),
        "judged_origins": trained.judged_origins,
        "scores": {
            forecaster: {
                "hospitals": {
                    hospital: asdict(own)
                    for hospital, own in zip(trained.panel.hospitals, table.each, strict=True)
                },
                "weeks_ahead": [asdict(week) for week in table.weeks],
                "all": asdict(table.every),
            }
            for forecaster, table in trained.scores.items()
        },
    }


def _flatten_scores(trained: Trained) -> dict[str, float]:
    flat: dict[str, float] = {}
    for forecaster, table in trained.scores.items():
        every = table.every
        name = forecaster.replace(" ", "-")
        flat |= {
            f"{name}.mae": every.mae,
            f"{name}.mase": every.mase,
            f"{name}.mase.worst": max(own.mase for own in table.each),
            f"{name}.relative_mae": every.relative_mae,
            f"{name}.pinball": every.pinball,
            f"{name}.dm_p": every.comparison.p_value,
        }
        flat |= {
            f"{name}.coverage_{nominal * 100:.0f}": every.coverage[nominal].value
            for nominal in INTERVALS
        }
    return flat


def _escape_formula(name: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, CSV injection).

    >>> _escape_formula("=HYPERLINK(1)"), _escape_formula("ha-harbour")
    ("'=HYPERLINK(1)", 'ha-harbour')
    """
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name


def _to_json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
