"""The published scores that a mapping has inputs for, over an imported frame.

An input that the table has not, or a row without it, adds nothing: the points are a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from ehr_models.imports.mapping import SCORE_INPUTS, MappedComparator
from ehr_models.scores.rows import score_hospital_rows, score_lace_rows
from ehr_models.task import Comparator

_TITLES: Mapping[str, str] = {"lace": "LACE", "hospital": "HOSPITAL"}
_SCORES: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "lace": score_lace_rows,
    "hospital": score_hospital_rows,
}
# Inputs that are yes or no; a number is yes from 1.
_FLAGS = frozenset({"acute", "oncology", "procedure", "urgent"})


def build_comparator(mapped: MappedComparator) -> Comparator:
    """Return the score of a mapping; its title says which parts are not there."""
    parts = SCORE_INPUTS[mapped.name]
    absent = [part for name, part in parts.items() if name not in mapped.inputs]
    without = f" without {', '.join(absent)}" if absent else ""
    return Comparator(
        mapped.name, _TITLES[mapped.name] + without, partial(_compute_lower_bound, mapped)
    )


def _compute_lower_bound(mapped: MappedComparator, rows: pd.DataFrame) -> pd.Series[float]:
    inputs = pd.DataFrame(index=rows.index)
    for name in SCORE_INPUTS[mapped.name]:
        values = rows[mapped.inputs[name]] if name in mapped.inputs else float("nan")
        inputs[name] = values
    flags = [name for name in inputs.columns if name in _FLAGS]
    inputs[flags] = inputs[flags].clip(upper=1)
    return _SCORES[mapped.name](inputs)["lower_bound"]
