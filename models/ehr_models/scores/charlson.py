"""Charlson's comorbidity score, in the classic weighting and in those of LACE (`charlson.toml`).

A problem list that is not there is unknown, not 0, and codes that are not ICD-10 leave a lower
bound: what they mean is not guessed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_fhir.errors import Unprocessable

CLASSIC = "classic-1987"
LACE_BMJ_OPEN = "lace-bmj-open-2017"
LACE_CMAJ = "lace-cmaj-2010"

_ICD_10 = re.compile(r"[A-Z][0-9][0-9A-Z](?:[0-9A-Z]{0,4})")


@dataclass(frozen=True)
class ProblemList:
    """The conditions of Charlson's list that some codes mean."""

    conditions: frozenset[str]
    # Codes that are not ICD-10: no condition was looked for in them.
    unread: int = 0


@dataclass(frozen=True)
class CharlsonScore:
    """The points of each condition that counts; `total` is None where something was not read."""

    points: Mapping[str, int]
    is_complete: bool = True

    @property
    def lower_bound(self) -> int:
        """Return the sum of what was read: the score is at least that."""
        return sum(self.points.values())

    @property
    def total(self) -> int | None:
        """Return the score; None where the problem list is missing or was not read whole."""
        return self.lower_bound if self.is_complete else None


def list_versions() -> tuple[str, ...]:
    """Return the names of the weightings.

    >>> list_versions()
    ('classic-1987', 'lace-bmj-open-2017', 'lace-cmaj-2010')
    """
    return tuple(_load()["weights"])


def get_weights(version: str) -> Mapping[str, int]:
    """Return the points of each condition in a weighting.

    >>> get_weights(CLASSIC)["aids_hiv"]
    6
    """
    weights: Mapping[str, Mapping[str, int]] = _load()["weights"]
    if version not in weights:
        raise Unprocessable(
            f"There is no weighting {version!r} of Charlson's score: {', '.join(weights)}."
        )
    return weights[version]


def list_worse() -> Mapping[str, str]:
    """Return the worse condition of each pair by the milder one: of both, it alone counts."""
    pairs: Mapping[str, str] = _load()["worse"]
    return pairs


def find_conditions(codes: Iterable[str]) -> ProblemList:
    """Return the conditions that ICD-10 codes mean (Quan 2005), with or without the dot.

    >>> find_conditions(["e11.2", "J06.9", "44054006"])
    ProblemList(conditions=frozenset({'diabetes_with_organ_damage'}), unread=1)
    """
    plain = [str(code).strip().upper().replace(".", "") for code in codes]
    readable = [code for code in plain if _ICD_10.fullmatch(code)]
    found = {condition for code in readable for condition in _conditions_of(code)}
    return ProblemList(frozenset(found), len(plain) - len(readable))


def score_charlson(problems: ProblemList | None, version: str = CLASSIC) -> CharlsonScore:
    """Return the points of a problem list; None is a list that is not there.

    >>> score_charlson(find_conditions(["I21", "I50.0"]), LACE_BMJ_OPEN).total
    3
    >>> score_charlson(None).total is None
    True
    """
    weights = get_weights(version)
    if problems is None:
        return CharlsonScore({}, is_complete=False)
    worse = list_worse()
    counted = {c for c in problems.conditions if worse.get(c) not in problems.conditions}
    points = {condition: weights[condition] for condition in weights if condition in counted}
    return CharlsonScore(points, is_complete=problems.unread == 0)


@cache
def _conditions_of(code: str) -> frozenset[str]:
    lists: Mapping[str, list[str]] = _load()["codes"]
    return frozenset(name for name, prefixes in lists.items() if code.startswith(tuple(prefixes)))


@cache
def _load() -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads(
        (files(__package__) / "charlson.toml").read_text("utf-8")
    )
    return content
