"""The plot of search latency over the size of the store, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

__all__ = ["draw"]


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw p50 and p99 side by side, a row for each database."""
    databases = list(dict.fromkeys(str(one["database"]) for one in found))
    kinds = list(dict.fromkeys(str(one["kind"]) for one in found))
    # No random ids and no date in the file: drawn again from the same figures, it is the same.
    pyplot.rcParams["svg.hashsalt"] = "search-latency"
    figure, axes = pyplot.subplots(
        len(databases),
        2,
        figsize=(10, 4.6 * len(databases)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    colours = pyplot.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for row, database in zip(axes, databases, strict=True):
        for axis, measure in zip(row, ("p50_ms", "p99_ms"), strict=True):
            for number, kind in enumerate(kinds):
                mine = [one for one in found if (one["database"], one["kind"]) == (database, kind)]
                axis.loglog(
                    [one["resources"] for one in mine],
                    [one[measure] for one in mine],
                    marker="os^"[number // 7],
                    markersize=3,
                    linewidth=1.2,
                    color=colours[number % len(colours)],
                    label=kind,
                )
            axis.set_title(f"{database}, {measure[:3]}", fontsize=10)
            axis.set_xlabel("resources in the store")
            axis.set_ylabel("milliseconds")
            axis.grid(True, which="both", linewidth=0.3)
    axes[0][1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
