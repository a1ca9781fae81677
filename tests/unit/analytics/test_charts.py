"""Plots of cells show what may be shown, and nothing of what is hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehr_analytics.analyses import descriptive, survival
from ehr_analytics.analyses.charts import draw_tables
from ehr_analytics.analyses.estimate_plots import draw_estimates
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.control import ControlledCell
from ehr_analytics.disclosure.primary import Reason
from tests.lib.cohort_tables import frame_of

SIZE = 60
FRAME = frame_of(
    {
        "sex": ["female", "male"] * (SIZE // 2),
        "death": ["yes", "no", "no"] * (SIZE // 3),
        "death_days": [10 * (number % 30) for number in range(SIZE)],
    },
    {"sex": ("female", "male"), "death": ("yes", "no")},
)


def shown(cells: list[Cell]) -> list[ControlledCell]:
    return [ControlledCell(cell, cell.value, None) for cell in cells]


def hidden(cells: list[Cell]) -> list[ControlledCell]:
    return [ControlledCell(cell, None, Reason.THRESHOLD) for cell in cells]


CURVES = survival.kaplan_meier(FRAME, "curves", "death", [50, 100, 150], ["sex"])
RATIOS = survival.cox(FRAME, "ratios", "death", ["sex"])
COUNTS = descriptive.counts(FRAME, "counts", ["sex"])


@pytest.mark.parametrize("cells", [CURVES, RATIOS, COUNTS])
def test_a_table_has_a_plot_and_a_hidden_one_has_none(cells: list[Cell], tmp_path: Path) -> None:
    assert draw_tables(tmp_path, shown(cells), "note") == [f"{cells[0].table}.png"]
    assert draw_tables(tmp_path, hidden(cells), "note") == []


@pytest.mark.parametrize("cells", [CURVES, RATIOS, COUNTS])
def test_a_plot_does_not_change_with_what_is_hidden(cells: list[Cell], tmp_path: Path) -> None:
    pictures = []
    for number in (1, 2):
        # True values and persons differ, what is shown does not.
        drawn = [
            ControlledCell(replace(cell, statistic=cell.statistic, contributions=None), 20.0, None)
            if place
            else ControlledCell(_other(cell, number), None, Reason.THRESHOLD)
            for place, cell in enumerate(cells)
        ]
        folder = tmp_path / str(number)
        folder.mkdir()
        draw_tables(folder, drawn, "note")
        pictures.append((folder / f"{cells[0].table}.png").read_bytes())

    assert pictures[0] == pictures[1]


def _other(cell: Cell, size: int) -> Cell:
    persons = frozenset(list(cell.persons)[:size])
    return replace(cell, value=float(size), persons=persons, contributions=None)


def test_the_figures_beside_a_rate_have_room_and_no_exponent() -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()

    draw_estimates(figure, axes, shown(survival.incidence(FRAME, "rates", "death", ["sex"])))

    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
    # More than a thousand in 1,000 person-years: a number that %g writes with an exponent.
    labels = [text for text in axes.texts if "to" in text.get_text()]
    assert len(labels) == 2
    for text in labels:
        assert "e+" not in text.get_text()
        assert text.get_window_extent().x1 < figure.bbox.x1
