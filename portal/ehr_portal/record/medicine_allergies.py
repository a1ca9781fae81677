"""Medicines against allergies: by ingredient, class, code or name, and across related classes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ehr_portal.gateway.client import Resource
from ehr_portal.record.allergies import is_drug_allergy
from ehr_portal.record.display import HAN
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, STRONG
from ehr_portal.record.medicine_findings import (
    ALLERGY,
    SAME_CLASS,
    SAME_CODE,
    SAME_INGREDIENT,
    Findings,
    MedicineFinding,
)
from ehr_portal.record.medicine_names import (
    Medicine,
    Recognition,
    concept_codes,
    concept_names,
    ingredient_classes,
    join_recognitions,
    load_rules,
    recognise,
)
from ehr_portal.record.special_codes import states_none_or_unknown

_NO_ALLERGY = frozenset({"refuted", "entered-in-error"})
_PAST_ALLERGY = frozenset({"inactive", "resolved"})
# A name of fewer letters is found in too many others. Chosen.
_MIN_NAME_LENGTH = 4
_MIN_HAN_LENGTH = 2
# What stands around the name of what somebody is allergic to.
_ALLERGY_TO = re.compile(r"^allergy to | allergy$|^[對对]|(?:過敏|过敏)$")


@dataclass(frozen=True)
class Allergen:
    """What somebody is allergic to."""

    resource: Resource
    recognition: Recognition
    codes: frozenset[tuple[str, str]]
    names: frozenset[str]


def check_allergy(findings: Findings, allergen: Allergen, medicine: Medicine) -> None:
    """Add what an allergy means for a medicine."""
    match = _match_allergy(allergen, medicine)
    if match is None:
        return
    rule, level, ingredients, source = match
    state = _code(allergen.resource.get("clinicalStatus", {}))
    if state in _PAST_ALLERGY:
        level = ATTENTION
    elif level == CRITICAL and allergen.resource.get("type") == "intolerance":
        level = STRONG
    finding = MedicineFinding(
        ALLERGY, level, rule, (medicine.resource,), ingredients, allergen.resource, source
    )
    findings.add(finding, id(allergen.resource))


def _match_allergy(
    allergen: Allergen, medicine: Medicine
) -> tuple[str, str, tuple[str, ...], str] | None:
    """Return rule, level, ingredients and source of the closest match."""
    to, taken = allergen.recognition, medicine.recognition
    if same := to.ingredients & taken.ingredients:
        return SAME_INGREDIENT, CRITICAL, tuple(sorted(same)), ""
    if same := to.classes & taken.groups:
        return SAME_CLASS, CRITICAL, tuple(sorted(same)), ""
    if allergen.codes & medicine.codes or _shares_name(allergen.names, medicine.names):
        return SAME_CODE, CRITICAL, (), ""
    rules = load_rules()
    related = frozenset(group for group, row in rules["classes"].items() if row.get("related"))
    if same := ingredient_classes(to.ingredients) & taken.groups & related:
        return SAME_CLASS, STRONG, tuple(sorted(same)), ""
    for row in rules["cross-reaction"]:
        for near, far in ((row["a"], row["b"]), (row["b"], row["a"])):
            if to.groups & set(near) and (crossing := taken.groups & set(far)):
                return row["id"], ATTENTION, tuple(sorted(crossing)), row["source"]
    return None


def parse_allergen(allergy: Resource) -> Allergen:
    """Return what an AllergyIntolerance is to, by its code and its reactions' substances."""
    concepts = [
        allergy.get("code", {}),
        *(reaction.get("substance", {}) for reaction in allergy.get("reaction", ())),
    ]
    names = [name for concept in concepts for name in concept_names(concept)]
    return Allergen(
        allergy,
        _recognise_all(concepts),
        frozenset(code for concept in concepts for code in concept_codes(concept)),
        frozenset(name.strip().lower() for name in names),
    )


def _recognise_all(concepts: Iterable[Resource]) -> Recognition:
    """Return all that several substances are recognised as: whole only if each of them is."""
    found = [
        join_recognitions(recognise(name) for name in names)
        for names in map(concept_names, concepts)
        if names
    ]
    return replace(join_recognitions(found), is_partial=any(each.is_partial for each in found))


def may_hold(allergy: Resource) -> bool:
    """Return whether an entry is an allergy: not refuted, and no statement of "none known"."""
    state = _code(allergy.get("verificationStatus", {}))
    return state not in _NO_ALLERGY and not states_none_or_unknown(allergy.get("code", {}))


def cannot_be_compared(allergen: Allergen) -> bool:
    """Return whether it may be to a medicine, and it or a part of it is none that is known."""
    categories = set(allergen.resource.get("category", ()))
    may_be_medicine = is_drug_allergy(allergen.resource) or not categories
    return may_be_medicine and allergen.recognition.is_partial


def _shares_name(allergen_names: Iterable[str], medicine_names: Iterable[str]) -> bool:
    """Return whether an allergy is to a name that a medicine is called by, as whole words.

    Chinese has no spaces between words, and says a name in two characters.
    """
    medicines = [f" {' '.join(name.split())} " for name in medicine_names]
    for name in allergen_names:
        words = " ".join(_ALLERGY_TO.sub(" ", name).split())
        is_chinese = bool(HAN.search(words))
        is_long_enough = len(words) >= (_MIN_HAN_LENGTH if is_chinese else _MIN_NAME_LENGTH)
        sought = words if is_chinese else f" {words} "
        if words and any(
            text.strip() == words or (is_long_enough and sought in text) for text in medicines
        ):
            return True
    return False


def _code(concept: Resource) -> str:
    return str(next((c["code"] for c in concept.get("coding", ()) if c.get("code")), ""))
