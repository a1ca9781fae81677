"""Features of all codes of a set of events: how often of late, and how long ago.

Codes are rolled up where their system has a hierarchy in the code itself: ICD-10 to its category
(three characters), ATC to the pharmacological subgroup (four). Others stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ehr_models.task import Feature

__all__ = [
    "RECENT_DAYS",
    "CodeGroup",
    "Codes",
    "list_code_features",
    "measure_recency",
    "roll_up",
    "roll_up_sql",
]

# Codes by the name of their group, in the order of their features.
Codes = Mapping[str, tuple[str, ...]]

_ROLL_UP: Mapping[str, int] = {
    "http://hl7.org/fhir/sid/icd-10": 3,
    "http://hl7.org/fhir/sid/icd-10-cm": 3,
    "http://www.whocc.no/atc": 4,
}
# After so many days a code's recency is a half.
RECENT_DAYS = 30

Days = TypeVar("Days", float, npt.NDArray[np.float64])


@dataclass(frozen=True)
class CodeGroup:
    """The codes in a column of a set of events, of which `system` names the column of the system.

    A code is a feature where at least so many people have it, and it is among the `most` that most
    people have.
    """

    name: str
    title: str
    events: str
    column: str
    system: str | None
    days: int
    at_least: int
    most: int


def roll_up(code: str, system: str | None) -> str:
    """Return the broader code that is counted in a code's place.

    >>> roll_up("I50.1", "http://hl7.org/fhir/sid/icd-10"), roll_up("44054006", None)
    ('I50', '44054006')
    """
    length = _ROLL_UP.get(system or "")
    return code if length is None else code[:length]


def roll_up_sql(code: str, system: str | None) -> str:
    """Return the SQL of `roll_up`."""
    if system is None:
        return code
    cases = " ".join(
        f"WHEN '{name}' THEN substr({code}, 1, {length})" for name, length in _ROLL_UP.items()
    )
    return f"CASE {system} {cases} ELSE {code} END"


def measure_recency(days: Days) -> Days:
    """Return 1 of a code seen on the day itself, falling with the days since; of none seen it is 0.

    >>> measure_recency(0), measure_recency(30)
    (1.0, 0.5)
    """
    return RECENT_DAYS / (RECENT_DAYS + days)


def list_code_features(groups: tuple[CodeGroup, ...], codes: Codes) -> tuple[Feature, ...]:
    """Return the features of codes, two of each, in the order of the groups and codes."""
    return tuple(
        feature
        for group in groups
        for code in codes.get(group.name, ())
        for feature in (
            Feature(
                f"{group.name}_{code}_days",
                f"{group.title} {code}: days with it of the last {group.days}",
                "1",
                group.events,
            ),
            Feature(
                f"{group.name}_{code}_recency",
                f"{group.title} {code}: 1 if on the day itself, a half after {RECENT_DAYS} days",
                "1",
                group.events,
            ),
        )
    )
