"""How likely two identities are of one person (Fellegi and Sunter 1969), and the grade of it.

Each element that both tell is weighed by how often it agrees so in two records of one person (m)
and in records of two people (u), as if elements were independent. The figures stand in
weights.toml, counted among made-up people.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

__all__ = [
    "GRADES",
    "Grade",
    "Weights",
    "grade_score",
    "load_weights",
    "score_agreement",
    "weigh_levels",
]

Grade = Literal["certain", "probable", "possible"]
# match-grade of FHIR -> the least probability; what is less likely is not told. Chosen from the
# curve in docs/explanation/matching.md.
GRADES: dict[Grade, float] = {"certain": 0.9999, "probable": 0.9, "possible": 0.5}


@dataclass(frozen=True)
class Weights:
    """m and u of each level of each element, and the share of compared pairs that are of one."""

    prior: float
    m: Mapping[str, Mapping[str, float]]
    u: Mapping[str, Mapping[str, float]]


@cache
def load_weights() -> Weights:
    """Read weights.toml."""
    text = files(__package__).joinpath("weights.toml").read_text("utf-8")
    return Weights(**tomllib.loads(text))


def score_agreement(levels: Mapping[str, str]) -> float:
    """Return the probability, from 0 to 1, that what agrees so is of one person.

    Other numbers of an identity document are two people's, whatever else agrees: twins have one
    birth date, one surname and one telephone.

    >>> everything = {"number": "same", "letters": "same", "birth-date": "same"}
    >>> score_agreement(everything) > 0.9999 > score_agreement({"birth-date": "same"})
    True
    """
    prior = load_weights().prior
    odds: float = prior / (1 - prior) * 2.0 ** math.fsum(weigh_levels(levels).values())
    return odds / (1 + odds)


def weigh_levels(levels: Mapping[str, str]) -> dict[str, float]:
    """Return what each element that both tell says, in bits: for one person, or (below 0) for two.

    >>> weights = weigh_levels({"birth-date": "same", "gender": "different"})
    >>> weights["birth-date"] > 0 > weights["gender"]
    True
    """
    known = load_weights()
    return {
        element: math.log2(known.m[element][level] / known.u[element][level])
        for element, level in levels.items()
    }


def grade_score(score: float) -> Grade | None:
    """Return the grade of a probability, None if it is too small to be told.

    >>> [grade_score(score) for score in (0.9999, 0.95, 0.1)]
    ['certain', 'probable', None]
    """
    return next((grade for grade, least in GRADES.items() if score >= least), None)
