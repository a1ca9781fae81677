"""The attrition of a cohort drawn as a flow: a box for each step, an arrow to the next."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

# In units of the drawing. A box holds a line of words, a number, and a bar for its share.
_WIDTH = 340
_BOX_HEIGHT = 64
_GAP = 34
_MARGIN = 4
_BAR_HEIGHT = 8
# Columns of text that fit into a box at 15 px; a Chinese character takes two. Chosen by eye.
_COLUMNS = 38


@dataclass(frozen=True)
class FlowBox:
    """One step as it is drawn: in the reader's words, `share` of those at the start."""

    title: str
    number: str
    # None where the number is hidden.
    share: float | None
    # What stands beside the arrow that leads to this box; empty at the first.
    loss: str


def draw_flow(boxes: Sequence[FlowBox], label: str) -> Markup:
    """Return the flow as SVG; `label` is read by screen readers. The page has a table beside it."""
    height = len(boxes) * (_BOX_HEIGHT + _GAP) - _GAP + 2 * _MARGIN
    drawn = Markup("").join(
        _draw_box(box, _MARGIN + number * (_BOX_HEIGHT + _GAP), has_arrow=number > 0)
        for number, box in enumerate(boxes)
    )
    return Markup(
        '<svg class="ehr-chart ehr-flow" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH + 2 * _MARGIN, height, label, drawn)


def _draw_box(box: FlowBox, top: int, *, has_arrow: bool) -> Markup:
    middle = _MARGIN + _WIDTH // 2
    arrow = Markup("")
    if has_arrow:
        arrow = Markup(
            '<path class="ehr-plot-line" d="M{x} {start}V{end}M{left} {head}L{x} {end}L{right} '
            '{head}"/><text class="ehr-plot-text" x="{beside}" y="{line}">{loss}</text>'
        ).format(
            x=middle, start=top - _GAP, end=top - 2, left=middle - 5, right=middle + 5,
            head=top - 8, beside=middle + 14, line=top - _GAP // 2 + 5, loss=box.loss,
        )  # fmt: skip
    bar = Markup("")
    if box.share is not None:
        bar = Markup(
            '<rect class="ehr-plot-pass" x="{}" y="{}" width="{}" height="{}"/>'
        ).format(
            _MARGIN, top + _BOX_HEIGHT - _BAR_HEIGHT,
            round(_WIDTH * max(0.0, min(box.share, 1.0)), 1), _BAR_HEIGHT,
        )  # fmt: skip
    return arrow + Markup(
        '<rect class="ehr-flow-box{}" x="{}" y="{}" width="{}" height="{}"/>{}'
        '<text class="ehr-plot-text" x="{left}" y="{}">{}</text>'
        '<text class="ehr-flow-number" x="{left}" y="{}">{}</text>'
    ).format(
        "" if box.share is not None else " ehr-flow-box--hidden",
        _MARGIN, top, _WIDTH, _BOX_HEIGHT, bar,
        top + 21, shorten(box.title, _COLUMNS), top + 46, box.number, left=_MARGIN + 12,
    )  # fmt: skip


def shorten(text: str, columns: int) -> str:
    """Return a text that takes at most so many columns, a wide character two.

    >>> shorten("With: stays before", 40), shorten("With: stays before", 10)
    ('With: stays before', 'With: sta…')
    """
    width, kept = 0, ""
    for character in text:
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > columns:
            return kept[:-1].rstrip() + "…"
        kept += character
    return kept
