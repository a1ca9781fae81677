"""Bar chart of counts, drawn from controlled numbers only; hidden cells are marked as hidden."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehr_analytics.disclosure_control import CountTable

# Okabe and Ito's colours and a hatch each: told apart without colour vision, and on paper.
_STYLES = (("#0072B2", ""), ("#E69F00", "//"), ("#009E73", ".."), ("#CC79A7", "xx"))
_BAR = 0.8


def draw_bar_chart(
    table: CountTable, counts: tuple[str, ...], title: str, note: str, path: Path
) -> None:
    """Draw one group of horizontal bars per row, one bar per count, with the number at its end."""
    labels = [", ".join(strata) or "all" for strata, _ in table.rows]
    height = 1.8 + 0.45 * max(1, len(labels)) * max(1, len(counts)) * 0.7
    figure = Figure(figsize=(8, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    thickness = _BAR / len(counts)
    for number, count in enumerate(counts):
        colour, hatch = _STYLES[number % len(_STYLES)]
        cells = [row[table.counts.index(count)] for _, row in table.rows]
        places = [place + number * thickness for place in range(len(cells))]
        axes.barh(
            places,
            [cell or 0 for cell in cells],
            thickness * 0.92,
            color=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.6,
            label=count.replace("_", " "),
        )
        for place, cell in zip(places, cells, strict=True):
            text = " hidden" if cell is None else f" {cell:,}"
            axes.text(cell or 0, place, text, va="center", fontsize=9)
    axes.set_yticks([place + (_BAR - thickness) / 2 for place in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("count")
    axes.set_ylabel(", ".join(table.strata).replace("_", " "))
    axes.set_title(title, loc="left", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower right", frameon=False, ncols=len(counts))
    figure.text(0.01, 0.01, note, fontsize=8, va="bottom")
    figure.savefig(path, format="png", dpi=120, metadata={"Title": title, "Description": note})
