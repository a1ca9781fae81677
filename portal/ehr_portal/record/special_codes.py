"""Codes that decide where a record stands, from special_codes.toml: none known, social, ..."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_portal.gateway.client import Resource

_SOCIAL_CATEGORIES = frozenset({"social-history", "sdoh"})


def states_none_known(concept: Resource) -> bool:
    """Return whether a code states that there is none, such as "no known allergy".

    >>> states_none_known({"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]})
    True
    """
    return _is_listed(concept, "none-known")


def states_no_information(concept: Resource) -> bool:
    """Return whether a code states that nothing is known either way."""
    return _is_listed(concept, "no-information")


def is_social(resource: Resource) -> bool:
    """Return whether a record is about circumstances of life and no illness."""
    categories = {
        coding.get("code")
        for category in resource.get("category", ())
        if isinstance(category, dict)
        for coding in category.get("coding", ())
    }
    return bool(categories & _SOCIAL_CATEGORIES) or _is_listed(resource.get("code", {}), "social")


def days_until_over(concept: Resource) -> int | None:
    """Return after how many days a state has ended by itself; None for one that does not."""
    days: dict[str, int] = _load_codes()["self-ending"]["days"]
    return next((days[code] for system, code in _codes(concept) if code in days), None)


def _is_listed(concept: Resource, table: str) -> bool:
    codes = _load_codes()[table]
    return any(code in codes.get(system, ()) for system, code in _codes(concept))


def _codes(concept: Resource) -> Iterable[tuple[str, str]]:
    for coding in concept.get("coding", ()):
        yield coding.get("system", ""), coding.get("code", "")


@cache
def _load_codes() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "special_codes.toml").read_text("utf-8"))
