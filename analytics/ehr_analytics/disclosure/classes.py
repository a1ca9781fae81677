"""Classes of statistics of the SACRO guide to output checking, and how each may be released.

Three ways: by rule (the controls of this package suffice), by people (two checkers decide with the
evidence before them), or never. `statistics.toml` is the table; docs/reference/disclosure.md shows
it to readers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from ehr_fhir.errors import Unprocessable

__all__ = ["StatisticClass", "find_class", "load_classes"]

Way = Literal["rule", "people", "never"]


@dataclass(frozen=True)
class StatisticClass:
    """A class of statistics: which ones it has, how they leave, and by which test."""

    name: str
    title: str
    way: Way
    statistics: tuple[str, ...]
    test: str
    # Whether values of parts add up to the value of the whole, so that margins reveal.
    is_additive: bool = False


@cache
def load_classes() -> Mapping[str, StatisticClass]:
    """Return the classes by name."""
    text = files(__package__).joinpath("statistics.toml").read_text("utf-8")
    return {
        name: StatisticClass(
            name, entry["title"], entry["way"], tuple(entry["statistics"]), entry["test"],
            entry.get("additive", False),
        )
        for name, entry in tomllib.loads(text).items()
    }  # fmt: skip


def find_class(statistic: str) -> StatisticClass:
    """Return the class of a statistic; Unprocessable when the guide has no such.

    >>> find_class("median").name, find_class("maximum").way
    ('position', 'never')
    """
    for statistic_class in load_classes().values():
        if statistic in statistic_class.statistics:
            return statistic_class
    raise Unprocessable(f"No class of statistics has {statistic!r}: it cannot be released.")
