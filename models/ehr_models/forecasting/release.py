"""What of a forecast may be shown beyond the trusted zone: forecasts, by the rule of open data.

No daily count that was observed goes out: an hour or a day of a hospital may be a few people's.
A forecast is made of hundreds of days; small ones are hidden all the same, and all are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehr_privacy.disclosure import POLICIES

__all__ = ["POLICY", "control_rows"]

# The policy of the open datasets of attendances and beds.
POLICY = "opensafely-7-5"


def control_rows(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str]
) -> list[dict[str, object]]:
    """Return rows with the numbers of some columns as the policy shows them, None where hidden."""
    rule = POLICIES[POLICY]
    return [
        {
            name: rule.control(round(value))
            if name in columns and isinstance(value, float)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]
