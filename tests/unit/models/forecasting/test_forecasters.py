"""The forecasters: what they may know, and that they find what is there to be found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from ehr_models.forecasting.boosting import Boosting
from ehr_models.forecasting.calendar_days import Weather, read_holidays
from ehr_models.forecasting.evaluation import FEWEST_DAYS, backtest, list_origins
from ehr_models.forecasting.forecaster import HORIZON, MEDIAN, Forecaster, SeasonalNaive
from ehr_models.forecasting.panel import Panel, build_panel
from ehr_models.forecasting.simulation import simulate
from ehr_models.forecasting.smoothing import ExponentialSmoothing

HOLIDAYS = read_holidays()
FIRST = pd.Timestamp("2024-01-01")
PANEL = build_panel(simulate(2, FIRST, 700, HOLIDAYS, seed=4).attendances)
DAYS = PANEL.list_days(700)
WEATHER = Weather(("warmth: [°C]",), DAYS, np.random.default_rng(1).normal(size=(700, 1)))
MAKERS: list[Callable[[], Forecaster]] = [
    SeasonalNaive,
    ExponentialSmoothing,
    lambda: Boosting(HOLIDAYS, WEATHER),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_spike_of_the_future_changes_no_forecast(make: Callable[[], Forecaster]) -> None:
    spiked = PANEL.values.copy()
    spiked[601:] = 1e6
    planted = Panel(PANEL.first_day, PANEL.hospitals, spiked)
    origins = np.array([560, 600])

    forecaster, other = make(), make()
    forecaster.fit(PANEL.cut(561))
    other.fit(planted.cut(561))
    calm, wild = forecaster.predict(PANEL, origins), other.predict(planted, origins)

    assert np.array_equal(calm, wild)
    # And one of the past does: the forecasts are made of it.
    spiked[560] = 1e6
    assert not np.array_equal(calm, other.predict(planted, origins))


def test_no_step_of_the_evaluation_knows_what_is_to_come() -> None:
    """Learning, forecasting and calibrating of every origin before the spike are as without it."""
    panel = PANEL.cut(FEWEST_DAYS).select(("hospital-01",))
    spike = int(list_origins(FEWEST_DAYS)[1][5]) + 1
    spiked = panel.values.copy()
    spiked[spike:] = 1e6
    planted = Panel(panel.first_day, panel.hospitals, spiked)

    for make in MAKERS:
        calm, wild = backtest(make(), panel), backtest(make(), planted)

        before = calm.origins < spike
        assert np.array_equal(calm.raw[before], wild.raw[before])
        assert np.array_equal(calm.calibrated[before], wild.calibrated[before])
        assert not np.array_equal(calm.calibrated[~before], wild.calibrated[~before])


def test_weather_after_the_origin_changes_no_forecast() -> None:
    changed = WEATHER.values.copy()
    changed[601:] = 99.0
    forecaster = Boosting(HOLIDAYS, WEATHER)
    forecaster.fit(PANEL.cut(561))
    calm = forecaster.predict(PANEL, np.array([600]))
    forecaster.weather = Weather(("warmth",), DAYS, changed)

    assert np.array_equal(calm, forecaster.predict(PANEL, np.array([600])))


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_data_give_the_same_forecast_and_quantiles_do_not_cross(
    make: Callable[[], Forecaster],
) -> None:
    results = []
    for _ in range(2):
        forecaster = make()
        forecaster.fit(PANEL)
        results.append(forecaster.predict(PANEL, np.array([699])))

    assert np.array_equal(results[0], results[1])
    assert results[0].shape == (1, 2, HORIZON, 5)
    assert (np.diff(results[0], axis=-1) >= 0).all()


def test_the_reference_repeats_the_last_same_weekday() -> None:
    forecast = SeasonalNaive().predict(PANEL, np.array([650]))[0, 0, :, MEDIAN]

    week = PANEL.values[644:651, 0]
    assert np.array_equal(forecast, np.tile(week, 4))


def test_smoothing_gives_what_statsmodels_forecasts_with_its_intervals() -> None:
    values = PANEL.values[:364, 0]
    forecaster = ExponentialSmoothing()
    forecaster.fit(PANEL.cut(364))

    found = forecaster.predict(PANEL.cut(364), np.array([363]))[0, 0]

    series = pd.Series(values, index=DAYS[:364])
    model = ETSModel(
        series, error="add", seasonal="add", seasonal_periods=7, initialization_method="heuristic"
    )
    expected = model.fit(disp=False, maxiter=200).get_prediction(start=364, end=391)
    table = expected.summary_frame(alpha=0.05)
    assert found[:, MEDIAN] == pytest.approx(table["mean"].to_numpy())
    assert found[:, 0] == pytest.approx(table["pi_lower"].to_numpy(), rel=1e-6)
    assert found[:, -1] == pytest.approx(table["pi_upper"].to_numpy(), rel=1e-6)


def test_boosting_finds_the_effect_of_a_public_holiday() -> None:
    """Holidays are 12 % below other days in the simulation, the day after one 7 % above."""
    forecaster = Boosting(HOLIDAYS)
    forecaster.fit(PANEL)
    unaware = Boosting(read_holidays())
    unaware.holidays = type(HOLIDAYS)(frozenset(), HOLIDAYS.years)
    unaware.fit(PANEL)
    eve = int((pd.Timestamp("2025-10-05") - FIRST).days)

    holiday = forecaster.predict(PANEL, np.array([eve]))[0, :, 1, MEDIAN]

    assert (holiday < unaware.predict(PANEL, np.array([eve]))[0, :, 1, MEDIAN]).all()
