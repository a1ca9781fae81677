"""`ehr models forecast`: from visits in the lake, and from a file, to what is stored and shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_fhir.errors import Unavailable
from ehr_models import tracking
from ehr_models.cli import app
from ehr_models.forecasting.calendar_days import NO_WEATHER, read_holidays
from ehr_models.forecasting.tasks import get_task
from ehr_models.forecasting.train import train
from ehr_models.forecasting.visits_source import read_panel
from ehr_models.model_store import ModelStore
from ehr_privacy.deid import pseudonym
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, encounter, patient

NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def make_lake(folder: Path) -> Lake:
    """Return a lake with a stay of three people each: one has opted out of research."""
    lake = Lake(folder / "lake")
    people = ["p-one", "p-two", "p-three"]
    resources = [
        *(patient(one) for one in people),
        *(consent(one, "joining") for one in people),
        *(encounter(f"stay-{one}", one) for one in people),
        encounter(
            "later", "p-one", period={"start": "2026-03-05T09:00:00+08:00", "end": "2026-03-06"}
        ),
        consent("p-three", "research", permit=False),
    ]
    lines = [feed_line(number, one) for number, one in enumerate(resources, 1)]
    feed = Pages([b"\n".join([*lines, *decision_lines(resources)])])
    run_once(lake, feed, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))
    return lake


def test_counts_are_of_those_whose_records_research_may_use(tmp_path: Path) -> None:
    """Stays from 1 to 4 March, and one that begins on the 5th."""
    lake = make_lake(tmp_path)
    withheld = [pseudonym(KEY, "Patient/p-two")]

    both = read_panel(get_task("beds"), lake, KEY, NOW, [])
    one = read_panel(get_task("beds"), lake, KEY, NOW, withheld)

    assert (both.hospitals, f"{both.first_day:%m-%d}") == (("ha-harbour",), "03-02")
    assert both.values.ravel().tolist() == [2, 2, 0]
    assert one.values.ravel().tolist() == [1, 1, 0]
    with pytest.raises(Unavailable, match="Too little data"):
        train(both, read_holidays(), NO_WEATHER, 0)


def test_a_forecast_is_stored_signed_tracked_and_shown(tmp_path: Path) -> None:
    counts, data = str(tmp_path / "counts.csv"), tmp_path / "data"
    data.mkdir()

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["forecast", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    run("simulate", "beds", counts, "--hospitals", "1", "--days", "574")
    said = run("train", "beds", "--from", counts, "--data", str(data))
    shown = run("show", "beds", "--controlled", "--data", str(data))
    picture = tmp_path / "beds.svg"
    run("plot", "beds", str(picture), "--data", str(data))

    newest = ModelStore(data).read_version("forecast-beds", 1)
    report = newest.read_json("report.json")
    assert report["verdict"] in said and report["verdict"] in shown
    assert shown.count("hospital-01\t") == 28
    assert picture.read_bytes() == newest.files["forecast.svg"]
    run_of = tracking.open_store(get_task("beds"), data).get_run(report["run"])
    assert run_of.data.params["data.sha256"] == report["data"]["sha256"]
    assert run_of.data.params["seed"] == "0"
    naive = report["scores"]["seasonal-naive"]["all"]
    assert run_of.data.metrics["seasonal-naive.mae"] == pytest.approx(naive["mae"])
    # No observed count stands in what may be shown.
    controlled = json.loads(newest.files["controlled.json"])
    assert set(controlled["rows"][0]) == {"hospital", "day", *controlled["levels"]}
