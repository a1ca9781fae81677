"""Applying the allow-list: each rule is compiled once into a closure.

Everything is fail-closed: a value that is not of the form its rule expects is dropped, so text can
pass only as a code of a known system or as a member of a closed list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.deid.pseudonyms import pseudonym, shift_days
from ehr_privacy.deid.rules import DeidRules, Node

# (value, the patient's shift in days or None) -> new value, or None to drop it.
Scrub = Callable[[Any, int | None], Any]  # JSON of every shape

_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?")
_COMPARATORS = frozenset({"<", "<=", ">=", ">", "ad"})
_UCUM = "http://unitsofmeasure.org"
_OLDEST_AGE = 90
# Chosen: entries of each cache in each worker; a batch repeats references, dates and codes.
_CACHE_SIZE = 200_000
_WHOSE = ("subject", "patient", "beneficiary")


class DropResource(Exception):
    """The resource cannot be kept without changing what it says."""


class Deidentifier:
    """Scrubs resources under one key; the same key always gives the same result."""

    def __init__(self, rules: DeidRules, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the key of a de-identification has at least 32 bytes")
        self._rules = rules
        self._key = key
        self._pseudonym = lru_cache(_CACHE_SIZE)(lambda reference: pseudonym(key, reference))
        self._moved = lru_cache(_CACHE_SIZE)(self._move)
        self._hidden = lru_cache(_CACHE_SIZE)(self._hide)
        self._known_code = lru_cache(_CACHE_SIZE)(self._code_has_form)
        self._shift = lru_cache(_CACHE_SIZE)(lambda patient: shift_days(key, patient))
        self._oldest = f"{rules.reference_year - _OLDEST_AGE:04}"
        self._types = {name: self._compile(name, node) for name, node in rules.types.items()}

    def __reduce__(self) -> tuple[type[Deidentifier], tuple[DeidRules, bytes]]:
        # Closures do not travel to worker processes; rules and key do.
        return Deidentifier, (self._rules, self._key)

    def scrub(self, resource: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the de-identified resource, or None when it must not be kept at all."""
        kind = str(resource.get("resourceType"))
        scrub = self._types.get(kind)
        if scrub is None or "implicitRules" in resource:
            return None
        patient = patient_of(resource)
        try:
            kept = scrub(resource, None if patient is None else self._shift(patient))
        except DropResource:
            return None
        return None if kept is None else {"resourceType": kind, **kept}

    def _compile(self, kind: str, node: Node) -> Scrub:
        assert node.elements is not None  # noqa: S101 - the reader makes types of elements only
        elements = {}
        for name, child in node.elements.items():
            if name == "id":
                elements[name] = self._id(kind)
            elif name == "status" and child.values:
                elements[name] = _status(child.values)
            else:
                elements[name] = self._node(child)
        return _object(elements)

    def _node(self, node: Node) -> Scrub:
        if node.elements is not None:
            return _object({name: self._node(child) for name, child in node.elements.items()})
        if node.values:
            return _listed(node.values)
        methods: dict[str, Callable[[], Scrub]] = {
            "keep": lambda: _keep,
            "drop": lambda: _drop,
            "pseudonym": lambda: _drop,  # an id inside a resource tells nothing
            "reference": self._reference,
            "dateshift": self._dateshift,
            "year": self._year,
            "age90": lambda: _age90,
            "region": self._region,
            "coding": self._coding,
            "quantity": lambda: _quantity(self._rules.systems[_UCUM]),
        }
        return methods[node.method]()

    def _id(self, kind: str) -> Scrub:
        def scrub(value: Any, shift: int | None) -> Any:
            return self._pseudonym(f"{kind}/{value}") if isinstance(value, str) else None

        return scrub

    def _reference(self) -> Scrub:
        hidden = self._hidden

        def scrub(value: Any, shift: int | None) -> Any:
            return hidden(value) if isinstance(value, str) else None

        return scrub

    def _hide(self, reference: str) -> str | None:
        match = _REFERENCE.fullmatch(reference)
        if match is None or match[1] not in self._rules.types:
            return None
        return f"{match[1]}/{pseudonym(self._key, f'{match[1]}/{match[2]}')}"

    def _code_has_form(self, system: str, code: str) -> bool:
        form = self._rules.systems.get(system)
        return form is not None and form.fullmatch(code) is not None

    def _dateshift(self) -> Scrub:
        moved = self._moved

        def scrub(value: Any, shift: int | None) -> Any:
            # Without a patient there is no shift; nothing stays where it was.
            return None if shift is None or not isinstance(value, str) else moved(value, shift)

        return scrub

    def _move(self, value: str, shift: int) -> str | None:
        # A date known to the month only cannot be moved by weeks.
        if not _DATE.fullmatch(value):
            return None
        try:
            text = (date.fromisoformat(value[:10]) + timedelta(days=shift)).isoformat()
        except (ValueError, OverflowError):
            return None
        # What happened before the oldest class was born would tell that age.
        return text + value[10:] if text >= self._oldest else None

    def _year(self) -> Scrub:
        oldest = self._oldest

        def scrub(value: Any, shift: int | None) -> Any:
            if not isinstance(value, str) or not re.fullmatch(r"\d{4}(-\d\d){0,2}", value):
                return None
            return max(value[:4], oldest)

        return scrub

    def _region(self) -> Scrub:
        regions = self._rules.regions

        def scrub(value: Any, shift: int | None) -> Any:
            addresses = value if isinstance(value, list) else [value]
            for address in addresses:
                if not isinstance(address, dict):
                    continue
                for name in ("district", "city", "state"):
                    region = regions.get(str(address.get(name)))
                    if region:
                        return [{"state": region, "country": JURISDICTION.country}]
            return None

        return scrub

    def _coding(self) -> Scrub:
        known = self._known_code

        def one(coding: Any) -> Any:
            if not isinstance(coding, dict):
                return None
            if "modifierExtension" in coding:
                raise DropResource
            system, code = coding.get("system"), coding.get("code")
            if not isinstance(system, str) or not isinstance(code, str):
                return None
            if not known(system, code):
                return None
            kept = {"system": system, "code": code}
            # Which of several codes the author chose tells nothing of a person.
            return {**kept, "userSelected": True} if coding.get("userSelected") is True else kept

        def scrub(value: Any, shift: int | None) -> Any:
            if isinstance(value, list):
                return [kept for kept in map(one, value) if kept is not None] or None
            return one(value)

        return scrub


def patient_of(resource: Mapping[str, Any]) -> str | None:
    """Return the patient whose shift moves a resource's dates."""
    if resource.get("resourceType") == "Patient":
        return resource.get("id")
    targets = resource.get("target") if resource.get("resourceType") == "Provenance" else None
    for candidate in (*(resource.get(name) for name in _WHOSE), *(targets or ())):
        reference = candidate.get("reference") if isinstance(candidate, dict) else None
        if isinstance(reference, str) and reference.startswith("Patient/"):
            return reference.split("/")[1]
    return None


def _object(elements: Mapping[str, Scrub]) -> Scrub:
    def one(value: Any, shift: int | None) -> Any:
        if not isinstance(value, dict):
            return None
        if "modifierExtension" in value:
            raise DropResource
        kept = {}
        for name, inner in value.items():
            scrub = elements.get(name)
            if scrub is not None:
                result = scrub(inner, shift)
                if result is not None:
                    kept[name] = result
        return kept or None

    def scrub(value: Any, shift: int | None) -> Any:
        if isinstance(value, list):
            results = [one(item, shift) for item in value]
            return [result for result in results if result is not None] or None
        return one(value, shift)

    return scrub


def _listed(values: frozenset[str]) -> Scrub:
    def scrub(value: Any, shift: int | None) -> Any:
        if isinstance(value, list):
            return [item for item in value if isinstance(item, str) and item in values] or None
        return value if isinstance(value, str) and value in values else None

    return scrub


def _status(values: frozenset[str]) -> Scrub:
    def scrub(value: Any, shift: int | None) -> Any:
        # entered-in-error and the unknown turn the meaning of the whole resource.
        if not isinstance(value, str) or value not in values:
            raise DropResource
        return value

    return scrub


def _keep(value: Any, shift: int | None) -> Any:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, bool | int | float)] or None
    return value if isinstance(value, bool | int | float) else None


def _drop(value: Any, shift: int | None) -> Any:
    return None


def _age90(value: Any, shift: int | None) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(value, _OLDEST_AGE) if number else None


def _quantity(units: re.Pattern[str]) -> Scrub:
    def one(quantity: Any) -> Any:
        if not isinstance(quantity, dict):
            return None
        if "modifierExtension" in quantity:
            raise DropResource
        value, comparator, code = (quantity.get(n) for n in ("value", "comparator", "code"))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        ucum = quantity.get("system") == _UCUM and isinstance(code, str) and units.fullmatch(code)
        kept = {"value": _age90(value, None) if ucum and code == "a" else value}
        if comparator in _COMPARATORS:
            kept["comparator"] = comparator
        if ucum:
            kept |= {"system": _UCUM, "code": code}
        return kept

    def scrub(value: Any, shift: int | None) -> Any:
        if isinstance(value, list):
            return [kept for kept in map(one, value) if kept is not None] or None
        return one(value)

    return scrub
