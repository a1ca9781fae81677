"""What of a forecast may be shown beyond the trusted zone: forecasts, by the rule of open data.

No daily count that was observed goes out: an hour or a day of a hospital may be a few people's.
Those of seasonal-naive are observed counts, so none of its numbers is shown. A learnt forecast is
made of hundreds of days; small ones are hidden all the same, and all are rounded.

The numbers of a day hang together: each rounded by itself, five of them would tell the middle one
more closely than its own rounding does, and a hidden one too. So the middle one is rounded, the
others stand at rounded distances from it, and where it is hidden all are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ehr_models.forecasting.forecaster import SeasonalNaive
from ehr_privacy.disclosure import POLICIES

__all__ = ["POLICY", "control_rows"]

# The policy of the open datasets of attendances and beds.
POLICY = "opensafely-7-5"

Row = Mapping[str, object]


def control_rows(
    rows: Sequence[Row], columns: Sequence[str], median: str, served: str
) -> list[dict[str, object]]:
    """Return rows with the numbers of some columns as the policy shows them, None where hidden.

    `median` is the column that the others' distances are taken from, `served` the forecaster.
    """
    if served == SeasonalNaive.name:
        return [{**row, **dict.fromkeys(columns)} for row in rows]
    return [_control(row, columns, median) for row in rows]


def _control(row: Row, columns: Iterable[str], median: str) -> dict[str, object]:
    rule = POLICIES[POLICY]
    values = {name: value for name, value in row.items() if isinstance(value, float)}
    centre = rule.control(round(values[median]))
    if centre is None:
        return {**row, **dict.fromkeys(columns)}
    steps = {name: round((values[name] - values[median]) / rule.base) for name in columns}
    shown = {name: centre + rule.base * step for name, step in steps.items()}
    return {**row, **{name: rule.control(value) for name, value in shown.items()}}
