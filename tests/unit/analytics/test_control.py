"""Counts under a policy, and the plot of what remains."""

from __future__ import annotations

from pathlib import Path

from ehr_analytics.bar_chart import draw_bar_chart
from ehr_analytics.disclosure_control import CountTable, control_table

TABLE = CountTable(
    ("sex",),
    ("people", "stays"),
    (
        (("female",), (43, 88)),
        (("male",), (3, 40)),
        (("other",), (0, 0)),
    ),
)


def test_small_counts_are_hidden_the_others_rounded_and_empty_rows_left_out() -> None:
    shown = control_table("opensafely-7-5", TABLE, {}).table

    assert shown.rows[0] == (("female",), (45, 90))
    assert shown.rows[1][1] == (None, 40)


def test_many_stays_of_few_people_are_hidden() -> None:
    controlled = control_table("opensafely-7-5", TABLE, {"stays": "people"})

    assert [strata for strata, _ in controlled.table.rows] == [("female",)]
    assert controlled.record["rows_left_out"] == 2
    assert controlled.record["hidden_because_few_people"] == 1
    assert controlled.record["policy"] == "opensafely-7-5"
    assert controlled.record["cells"] == 6
    assert controlled.record["cells_hidden"] == 4


def test_a_plot_is_a_png_of_what_is_shown_even_if_all_is_hidden(tmp_path: Path) -> None:
    hidden = CountTable(("sex",), ("people",), ((("male",), (None,)), (("female",), (None,))))

    draw_bar_chart(hidden, ("people",), "People", "All is hidden.", tmp_path / "a.png")
    draw_bar_chart(TABLE, ("people", "stays"), "People", "Note.", tmp_path / "b.png")

    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
