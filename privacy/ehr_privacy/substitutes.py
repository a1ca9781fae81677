"""Substitute decision makers: who decides for a child or an incapable adult, and before whom.

The order is `rules/substitutes.toml`. Whether somebody is incapable, and who is there to decide, a
person has to say; nothing here finds it out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal

__all__ = [
    "Basis",
    "DecisionRight",
    "SubstituteRules",
    "decision_right",
    "load_substitutes",
    "substitution_basis",
]

Basis = Literal["minor", "incapable"]


@dataclass(frozen=True)
class SubstituteRules:
    """The lists: for each basis the relations by rank, the first rank first."""

    age: int
    relations: tuple[str, ...]
    ranks: Mapping[str, tuple[frozenset[str], ...]]


@dataclass(frozen=True)
class DecisionRight:
    """Whether somebody may decide; if not, because of whom, or because nobody of theirs may."""

    may: bool
    # Relations of an earlier rank that are there to decide.
    before: tuple[str, ...] = ()


def substitution_basis(born: date, today: date, *, incapable: bool) -> Basis | None:
    """Return why somebody else decides for a person; None when they decide by themselves.

    Who is born on 29 February comes of age on 1 March of a common year.

    >>> substitution_basis(date(2010, 11, 23), date(2026, 11, 22), incapable=False)
    'minor'
    >>> substitution_basis(date(2010, 11, 22), date(2026, 11, 22), incapable=False) is None
    True
    """
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    if age < load_substitutes().age:
        return "minor"
    return "incapable" if incapable else None


def decision_right(basis: Basis, relation: str, available: Iterable[str] = ()) -> DecisionRight:
    """Say whether a person of this relation may decide while people of others are there to do so.

    >>> decision_right("minor", "family", ["guardian", "provider"])
    DecisionRight(may=False, before=('guardian',))
    """
    ranks = load_substitutes().ranks[basis]
    own = next((at for at, rank in enumerate(ranks) if relation in rank), None)
    if own is None:
        return DecisionRight(False)
    there = set(available)
    earlier = tuple(sorted(there & set[str]().union(*ranks[:own])))
    return DecisionRight(not earlier, earlier)


@cache
def load_substitutes() -> SubstituteRules:
    """Read and validate the lists that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/substitutes.toml").read_text("utf-8")
    return parse_substitutes(text)


def parse_substitutes(text: str) -> SubstituteRules:
    """Parse the lists; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    relations = tuple(data["relations"])
    ranks = {}
    for basis in ("minor", "incapable"):
        ordered = tuple(frozenset(rank) for rank in data[basis]["ranks"])
        named = [relation for rank in ordered for relation in rank]
        if len(named) != len(set(named)) or not set(named) <= set(relations):
            raise ValueError(f"substitutes.toml: {basis}: a relation is unknown or there twice")
        ranks[basis] = ordered
    return SubstituteRules(int(data["age"]), relations, ranks)
