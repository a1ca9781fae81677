"""Preparation of a whole record: codes of contained records inlined, ages in Observations capped.

Each function returns the record itself where nothing concerns it, else a copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ehr_privacy.deid.modifiers import VOID, is_void
from ehr_privacy.deid.rules import DeidRules
from ehr_privacy.deid.units import count_per_year, read_unit

__all__ = ["MAIN_CODES", "OLDEST_AGE", "cap_observed_ages", "has_known_date", "inline_contained"]

OLDEST_AGE = 90
# The codes of a record that say what it is about: there a code of known dates may stay.
MAIN_CODES = frozenset({"code", "vaccineCode", "medicationCodeableConcept"})
Json = Mapping[str, Any]  # JSON of every shape
# A reference that may name a contained record -> the element that says the same by a code.
_CODE_ELEMENTS = {
    "medicationReference": "medicationCodeableConcept",
    "statusReasonReference": "statusReasonCodeableConcept",
    "itemReference": "itemCodeableConcept",
    "additiveReference": "additiveCodeableConcept",
    "reasonReference": "reasonCode",
}
_INLINED_TYPES = frozenset({"Medication", "Substance", "Device", "Condition", "Observation"})
# What a contained record is: its code, or the type of a device or substance.
_NAMING_ELEMENTS = ("code", "type")
_AGE = re.compile(r"\bages?\b|年齡|年龄|歲數|岁数", re.IGNORECASE)
_BIRTH = re.compile(r"\b(birth ?date|date of birth|dob|born)\b|出生", re.IGNORECASE)


def inline_contained(resource: Json) -> Json | None:
    """Put the code of each contained record where it is referred to; None if one is in doubt.

    Contained records are no records of their own, so nothing else of them is kept.
    """
    contained = resource.get("contained")
    if not isinstance(contained, list):
        return resource
    by_id = {
        f"#{inner['id']}": inner
        for inner in contained
        if isinstance(inner, dict) and isinstance(inner.get("id"), str)
    }
    if any(_is_in_doubt(inner) for inner in by_id.values()):
        return None
    by_id = {
        name: inner for name, inner in by_id.items() if inner.get("resourceType") in _INLINED_TYPES
    }
    if not by_id:
        # The copy of a large claim with its contained coverage would cost more than its scrubbing.
        return resource
    inlined = _inline_codes(resource, by_id)
    return inlined if isinstance(inlined, dict) else resource


def _is_in_doubt(inner: Json) -> bool:
    voided = inner.get("status") == VOID or is_void(inner.get("verificationStatus"))
    return voided or "modifierExtension" in inner or "implicitRules" in inner


def _inline_codes(value: Any, by_id: Mapping[str, Json]) -> Any:
    if isinstance(value, list):
        return [_inline_codes(item, by_id) for item in value]
    if not isinstance(value, dict):
        return value
    made = {
        name: _inline_codes(inner, by_id) for name, inner in value.items() if name != "contained"
    }
    for name, concept_name in _CODE_ELEMENTS.items():
        references = value.get(name)
        many = references if isinstance(references, list) else [references]
        concepts = [concept for reference in many for concept in _list_concepts(reference, by_id)]
        if not concepts:
            continue
        if isinstance(references, list):
            made[concept_name] = [*(made.get(concept_name) or ()), *concepts]
        elif concept_name not in made:
            made[concept_name] = concepts[0]
    return made


def _list_concepts(reference: object, by_id: Mapping[str, Json]) -> Iterator[Any]:
    if not isinstance(reference, dict):
        return
    inner = by_id.get(str(reference.get("reference")))
    if inner is None:
        return
    for name in _NAMING_ELEMENTS:
        if isinstance(inner.get(name), dict):
            yield inner[name]
            return
    # A drug that is named by its one ingredient alone.
    ingredients = inner.get("ingredient")
    if isinstance(ingredients, list) and len(ingredients) == 1:
        concept = ingredients[0].get("itemCodeableConcept")
        if isinstance(concept, dict):
            yield concept


def has_known_date(rules: DeidRules, resource: Json) -> bool:
    """Say whether what a record is about has dates that everybody knows."""
    return any(
        _is_known_date(rules, system, code)
        for name in MAIN_CODES
        if name in resource
        for system, code in _list_codings(resource[name])
    )


def cap_observed_ages(rules: DeidRules, resource: Json) -> Json:
    """Cap the ages that an Observation tells, in any form; take away a birth date it tells."""
    if resource.get("resourceType") != "Observation":
        return resource
    capped = _cap_part(rules, resource)
    components = resource.get("component")
    if isinstance(components, list):
        parts = [_cap_part(rules, part) if isinstance(part, dict) else part for part in components]
        if any(new is not old for new, old in zip(parts, components, strict=True)):
            capped = {**capped, "component": parts}
    return capped


def _cap_part(rules: DeidRules, part: Json) -> Json:
    values = [name for name in part if name.startswith("value")]
    if not values or "code" not in part:
        return part
    if _tells(rules, "birth", _BIRTH, part["code"]):
        return {name: value for name, value in part.items() if name not in values}
    if not _tells(rules, "age", _AGE, part["code"]):
        return part
    return {**part, **{name: _cap_value(part[name]) for name in values}}


# Chosen: a batch repeats its codes.
@lru_cache(50_000)
def _is_known_date(rules: DeidRules, system: str, code: str) -> bool:
    return rules.has_known_date(system, code)


@lru_cache(50_000)
def _is_known_code(rules: DeidRules, system: str, code: str) -> bool:
    return rules.knows_code(system, code)


def _tells(rules: DeidRules, what: str, words: re.Pattern[str], concept: object) -> bool:
    if any(pair in rules.told.get(what, ()) for pair in _list_codings(concept)):
        return True
    if not isinstance(concept, dict):
        return False
    codings = concept.get("coding")
    if isinstance(codings, list) and any(
        isinstance(coding, dict)
        and isinstance(coding.get("code"), str)
        and _is_known_code(rules, str(coding.get("system")), coding["code"])
        for coding in codings
    ):
        # A code says what it is; only without one the words must.
        return False
    texts = [concept.get("text"), *(c.get("display") for c in codings or () if isinstance(c, dict))]
    return any(isinstance(text, str) and words.search(text) for text in texts)


def _cap_value(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return min(value, OLDEST_AGE)
    if not isinstance(value, dict):
        return value
    number = value.get("value")
    if isinstance(number, int | float) and not isinstance(number, bool):
        unit = read_unit(value.get("system"), value.get("code"), value.get("unit"))
        per_year = count_per_year(unit) if unit else None
        most = round(OLDEST_AGE * per_year) if per_year else OLDEST_AGE
        return {**value, "value": min(number, most)}
    return {name: _cap_value(inner) for name, inner in value.items()}


def _list_codings(concept: object) -> Iterator[tuple[str, str]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict):
            yield str(coding.get("system")), str(coding.get("code"))
