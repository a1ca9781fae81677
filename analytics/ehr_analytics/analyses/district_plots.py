"""The tile map of districts as a plot of a release; as SVG in three languages: `district_map`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import RegularPolygon

from ehr_analytics.analyses.district_map import list_tiles, shade_of
from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["draw_district_plot"]


def draw_district_plot(figure: Figure, axes: Any, cells: Sequence[ControlledCell]) -> bool:
    """Draw a hexagon per district with its number; hatched where hidden. Any: matplotlib's axes."""
    wanted = "proportion" if any(c.cell.statistic == "proportion" for c in cells) else "frequency"
    shown = {
        dict(controlled.cell.labels)["district"]: controlled.shown
        for controlled in reversed(cells)
        if controlled.cell.statistic == wanted
    }
    known = [value for name, value in shown.items() if name in list_tiles() and value is not None]
    if not known:
        return False
    figure.set_size_inches(6.4, 7.6)
    for name, (column, row) in list_tiles().items():
        value = shown.get(name)
        shade = None if value is None else shade_of(value, max(known))
        hexagon = RegularPolygon(
            (column * 3**0.5, -1.5 * row), 6, radius=0.97,
            facecolor="white" if shade is None else shade.fill,
            edgecolor="#4d4d4d", hatch="//" if shade is None else None,
        )  # fmt: skip
        axes.add_patch(hexagon)
        figures = "hidden" if value is None else f"{value:,.3g}" if value < 1 else f"{value:,.0f}"
        text = f"{name.replace(' ', chr(10), 1)}\n{figures}"
        halo = {"facecolor": "white", "edgecolor": "none", "pad": 1} if shade is None else None
        axes.text(
            column * 3**0.5, -1.5 * row, text, ha="center", va="center", fontsize=8,
            color="black" if shade is None else shade.text, bbox=halo,
        )  # fmt: skip
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.set_axis_off()
    return True
