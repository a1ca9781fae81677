"""What the plots of analyses share: colours, and how labels are read out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["COLOURS", "DASHES", "Labels", "group_by_measure", "name_labels", "write_number"]

# Okabe and Ito's colours: told apart without colour vision; dashes tell them apart on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":")
Labels = Mapping[str, str]
# Dimensions whose categories say themselves what they are.
_PLAIN = ("step", "measure", "row", "term", "phase", "exposure", "outcome")


def name_labels(labels: Labels, without: Collection[str] = ()) -> str:
    """Return labels as a line.

    >>> name_labels({"age_band": "under 18", "measure": "people"})
    'age band under 18, people'
    """
    parts = [
        (value if name in _PLAIN else f"{name} {value}").replace("_", " ")
        for name, value in labels.items()
        if name not in without
    ]
    return ", ".join(parts) or "all"


def write_number(number: float) -> str:
    """Return a number in three significant digits, as people read it: never with an exponent.

    >>> write_number(3480.4), write_number(0.123456), write_number(1)
    ('3,480', '0.123', '1')
    """
    return f"{float(f'{number:.3g}'):,.12g}"


def group_by_measure(cells: Sequence[ControlledCell]) -> dict[str, dict[str, float | None]]:
    """Return the shown numbers by the other labels of their row, then by measure."""
    rows: dict[str, dict[str, float | None]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        row = rows.setdefault(name_labels(labels, ("measure",)), {})
        row[labels.get("measure", "")] = controlled.shown
    return rows
