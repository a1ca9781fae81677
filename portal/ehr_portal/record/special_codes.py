"""Codes that decide where a record stands, from special_codes.toml: none known, social, ..."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_portal.gateway.client import Resource

SOCIAL_CATEGORIES = frozenset({"social-history", "sdoh"})


def states_none_or_unknown(concept: Resource) -> bool:
    """Return whether a code states that there is none, or that nothing is known either way.

    >>> states_none_or_unknown(
    ...     {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}
    ... )
    True
    """
    return _has_code(concept, _none_or_unknown())


def is_social(resource: Resource) -> bool:
    """Return whether a record is about circumstances of life and no illness."""
    categories = {
        coding.get("code")
        for category in resource.get("category", ())
        if isinstance(category, dict)
        for coding in category.get("coding", ())
    }
    return bool(categories & SOCIAL_CATEGORIES) or _has_code(
        resource.get("code", {}), _load_table("social")
    )


def list_social_codes() -> list[str]:
    """Return the codes of circumstances of life as a search names them: system and code.

    >>> "http://snomed.info/sct|160903007" in list_social_codes()
    True
    """
    return sorted("|".join(code) for code in _load_table("social"))


def states_pregnancy(resource: Resource) -> bool:
    """Return whether a Condition, or the value of an Observation, states a pregnancy.

    >>> states_pregnancy(
    ...     {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "77386006"}]}}
    ... )
    True
    """
    concepts = (resource.get("code", {}), resource.get("valueCodeableConcept", {}))
    beginnings: dict[str, list[str]] = _load_codes()["pregnancy-beginnings"]
    return any(
        _has_code(concept, _load_table("pregnancy"))
        or any(
            str(coding.get("code", "")).startswith(tuple(beginnings.get(coding.get("system"), ())))
            for coding in concept.get("coding", ())
        )
        for concept in concepts
    )


def days_until_over(concept: Resource) -> int | None:
    """Return after how many days a state has ended by itself; None for one that does not."""
    days: dict[str, int] = _load_codes()["self-ending"]["days"]
    codes = (coding.get("code") for coding in concept.get("coding", ()))
    return next((days[code] for code in codes if code in days), None)


def _has_code(concept: Resource, codes: frozenset[tuple[str, str]]) -> bool:
    for coding in concept.get("coding", ()):
        if (coding.get("system", ""), coding.get("code", "")) in codes:
            return True
    return False


@cache
def _none_or_unknown() -> frozenset[tuple[str, str]]:
    return _load_table("none-known") | _load_table("no-information")


@cache
def _load_table(table: str) -> frozenset[tuple[str, str]]:
    by_system: dict[str, list[str]] = _load_codes()[table]
    return frozenset((system, code) for system, codes in by_system.items() for code in codes)


@cache
def _load_codes() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "special_codes.toml").read_text("utf-8"))
