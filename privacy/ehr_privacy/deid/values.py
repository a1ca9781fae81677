"""The methods of the rules: what becomes of one value.

Everything is fail-closed: a value that is not of the form its method expects is dropped, so text
can pass only as a code of a known system or as a member of a closed list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.deid.code_checks import is_loinc
from ehr_privacy.deid.dates import Shift, move_date
from ehr_privacy.deid.preparation import OLDEST_AGE
from ehr_privacy.deid.pseudonyms import pseudonym
from ehr_privacy.deid.rules import DeidRules
from ehr_privacy.deid.units import UCUM, count_per_year, read_unit

__all__ = ["Context", "DropResource", "Methods", "Scrub"]

_REFERENCE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?")
_COMPARATORS = frozenset({"<", "<=", ">=", ">", "ad"})
# Chosen: entries of each cache in each worker; a batch repeats references and codes.
_CACHE_SIZE = 200_000


class DropResource(Exception):
    """The resource cannot be kept without changing what it says."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the methods know of the record: whose it is, and how its dates change."""

    # None where no patient is known: then no date may stay.
    shift: Shift | None = None
    # `Patient/id` of a merged person -> that of the one who took their place.
    accounts: Mapping[str, str] | None = None
    # The birth year, before which no date is shown: it would tell how far it has moved at least.
    born: str = ""
    # A record whose dates everybody knows keeps no link to another but the patient.
    is_apart: bool = False


# (value, context) -> new value, or None to drop it.
Scrub = Callable[[Any, Context], Any]  # JSON of every shape


class Methods:
    """The methods by name, under one key."""

    def __init__(self, rules: DeidRules, key: bytes) -> None:
        self._rules = rules
        self._key = key
        self._find_pseudonym = lru_cache(_CACHE_SIZE)(self._pseudonymize_reference)
        self._known_code = lru_cache(_CACHE_SIZE)(rules.knows_code)
        self._known_date = lru_cache(_CACHE_SIZE)(rules.has_known_date)
        self._oldest = f"{rules.reference_year - OLDEST_AGE:04}"
        self.by_name: dict[str, Scrub] = {
            "keep": _keep,
            "drop": _drop,
            "pseudonym": _drop,  # an id inside a resource tells nothing
            "reference": self._reference,
            "dateshift": self._dateshift,
            "deceased": self._deceased,
            "year": self._year,
            "age": _age,
            "region": self._region,
            "coding": self._coding,
            "main-coding": self._main_coding,
            "quantity": _quantity,
            "linkid": self._link_id,
        }

    def _reference(self, value: Any, context: Context) -> Any:
        if not isinstance(value, str):
            return None
        if context.accounts:
            version = value.partition("/_history/")[0]
            value = context.accounts.get(version, value)
        if context.is_apart and not value.startswith("Patient/"):
            return None
        return self._find_pseudonym(value)

    def _pseudonymize_reference(self, reference: str) -> str | None:
        match = _REFERENCE.fullmatch(reference)
        if match is None or match[1] not in self._rules.types:
            return None
        return f"{match[1]}/{pseudonym(self._key, f'{match[1]}/{match[2]}')}"

    def _dateshift(self, value: Any, context: Context) -> Any:
        # Without a patient there is no shift; nothing stays where it was.
        if context.shift is None or not isinstance(value, str):
            return None
        moved = move_date(value, context.shift)
        # What happened before the oldest class was born would tell that age.
        if moved is None or moved < self._oldest or moved < context.born:
            return None
        return moved

    def _deceased(self, value: Any, context: Context) -> Any:
        moved = self._dateshift(value, context)
        return moved if moved is not None and len(moved) > len("2020") else True

    def _year(self, value: Any, context: Context) -> Any:
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}(-\d\d){0,2}", value, re.ASCII):
            return None
        return max(value[:4], self._oldest)

    def _region(self, value: Any, context: Context) -> Any:
        regions = self._rules.regions
        for address in value if isinstance(value, list) else [value]:
            if not isinstance(address, dict):
                continue
            for name in ("district", "city", "state"):
                region = regions.get(str(address.get(name)))
                if region:
                    return [{"state": region, "country": JURISDICTION.country}]
        return None

    def _main_coding(self, value: Any, context: Context) -> Any:
        return _map_values(value, self._scrub_coding)

    def _coding(self, value: Any, context: Context) -> Any:
        return _map_values(value, self._scrub_undated_coding)

    def _scrub_undated_coding(self, coding: Any) -> Any:
        kept = self._scrub_coding(coding)
        return None if kept is None or self._known_date(kept["system"], kept["code"]) else kept

    def _scrub_coding(self, coding: Any) -> Any:
        if not isinstance(coding, dict):
            return None
        if "modifierExtension" in coding:
            raise DropResource
        system, code = coding.get("system"), coding.get("code")
        if not isinstance(system, str) or not isinstance(code, str):
            return None
        if not self._known_code(system, code):
            return None
        kept = {"system": system, "code": code}
        # Which of several codes the author chose tells nothing of a person.
        return {**kept, "userSelected": True} if coding.get("userSelected") is True else kept

    def _link_id(self, value: Any, context: Context) -> Any:
        if not isinstance(value, str):
            return None
        # LOINC's own questionnaires name a question `/44250-9` or by the path to it.
        if all(map(is_loinc, value.removeprefix("/").split("/"))):
            return value
        return pseudonym(self._key, f"linkId:{value}")[:16]


def _map_values(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to a value or to each of a list, and leave out what it drops."""
    if isinstance(value, list):
        return [kept for kept in map(function, value) if kept is not None] or None
    return function(value)


def _keep(value: Any, context: Context) -> Any:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, bool | int | float)] or None
    return value if isinstance(value, bool | int | float) else None


def _drop(value: Any, context: Context) -> Any:
    return None


def _age(value: Any, context: Context) -> Any:
    return _map_values(value, _scrub_age)


def _scrub_age(age: Any) -> Any:
    if not isinstance(age, dict):
        return None
    if "low" in age or "high" in age:
        kept = {name: _scrub_age(age[name]) for name in ("low", "high") if name in age}
        return {name: bound for name, bound in kept.items() if bound is not None} or None
    if all(age.get(name) is None for name in ("system", "code", "unit")):
        # R4 has ages in units of time; without one, years are meant.
        kept = _scrub_quantity({**age, "system": UCUM, "code": "a"})
        return kept and {name: kept[name] for name in kept if name not in ("system", "code")}
    kept = _scrub_quantity(age)
    return kept if kept is not None and count_per_year(kept["code"]) else None


def _quantity(value: Any, context: Context) -> Any:
    return _map_values(value, _scrub_quantity)


def _scrub_quantity(quantity: Any) -> Any:
    if not isinstance(quantity, dict):
        return None
    if "modifierExtension" in quantity:
        raise DropResource
    value, comparator = quantity.get("value"), quantity.get("comparator")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A comparator turns what the value says: one that is not known cannot be left out.
    if comparator is not None and comparator not in _COMPARATORS:
        return None
    unit = read_unit(quantity.get("system"), quantity.get("code"), quantity.get("unit"))
    if unit is None:
        return None
    per_year = count_per_year(unit)
    kept = {"value": value if per_year is None else min(value, round(OLDEST_AGE * per_year))}
    if comparator is not None:
        kept["comparator"] = comparator
    return {**kept, "system": UCUM, "code": unit}
