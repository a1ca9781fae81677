"""Checks of medicines against each other and against allergies, by a short open set of rules.

Duplicates (same ingredient, same class), well-known interactions, and allergies by ingredient,
class or code. It is a display aid: `MedicineCheck` says what was not recognised, and so not
checked. The rules and their sources are data, in medicine_rules.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.record.allergies import is_drug_allergy
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, LEVELS, STRONG
from ehr_portal.record.medicine_names import (
    Medicine,
    Recognition,
    concept_codes,
    concept_names,
    ingredient_classes,
    join_recognitions,
    load_rules,
    parse_medicine,
    recognise,
)
from ehr_portal.record.special_codes import states_none_or_unknown

ALLERGY, INTERACTION, DUPLICATE = "allergy", "interaction", "duplicate"
_KINDS = (ALLERGY, INTERACTION, DUPLICATE)
# The rules that are no row of the data.
SAME_CODE, SAME_INGREDIENT, SAME_CLASS = "same-code", "same-ingredient", "same-class"
_LEVEL_BY_SEVERITY = {"contraindicated": CRITICAL, "serious": STRONG, "monitor": ATTENTION}
_ATC = "http://www.whocc.no/atc"
# The first characters of an ATC code that name the chemical subgroup (its fourth level).
_ATC_SUBGROUP = 5
# Orders of these states are taken, or may be: what is over or was a mistake interacts with nothing.
_IN_USE = frozenset({"active", "on-hold", "draft", "unknown", "intended", "not-stated", ""})
_NO_ALLERGY = frozenset({"refuted", "entered-in-error"})
_PAST_ALLERGY = frozenset({"inactive", "resolved"})
# Elements by which an order names the one that it renews or was made from.
_RENEWAL_ELEMENTS = ("priorPrescription", "basedOn", "derivedFrom", "replaces", "partOf")
# A name of fewer letters is found in too many others. Chosen.
_MIN_NAME_LENGTH = 4


@dataclass(frozen=True)
class MedicineFinding:
    """Something about some medicines that a prescriber has to weigh."""

    # ALLERGY, INTERACTION or DUPLICATE.
    kind: str
    # One of the levels of `interpretations`.
    level: str
    # The row of medicine_rules.toml, or one of SAME_CODE, SAME_INGREDIENT, SAME_CLASS.
    rule: str
    # The orders it is about, in the order in which they were passed.
    orders: tuple[Resource, ...]
    # Ingredients or classes of medicine_rules.toml; of an interaction those of both sides.
    ingredients: tuple[str, ...] = ()
    allergy: Resource | None = field(default=None, repr=False)
    # Where the rule is published; empty where it follows from the names alone.
    source: str = ""


@dataclass(frozen=True)
class MedicineCheck:
    """What a check found, and what it could not check."""

    # The most serious first.
    findings: tuple[MedicineFinding, ...]
    # How many orders were checked against each other.
    size: int
    # Orders whose medicine, or a part of it, was not recognised: not checked by ingredient.
    unrecognised: tuple[Resource, ...]
    # Allergies, to medicines or of no stated kind, that no medicine can be compared with.
    unrecognised_allergies: tuple[Resource, ...]
    # Orders that act where they are put: checked against allergies and exact duplicates only.
    local: tuple[Resource, ...]


@dataclass(frozen=True)
class _Allergen:
    """What somebody is allergic to."""

    resource: Resource
    recognition: Recognition
    codes: frozenset[tuple[str, str]]
    names: frozenset[str]


def check_medicines(
    orders: Iterable[Resource],
    allergies: Iterable[Resource],
    included: Mapping[str, Resource] | None = None,
    now: datetime | None = None,
) -> MedicineCheck:
    """Return what orders (also a draft) mean for each other and for the allergies.

    `orders` are MedicationRequests and MedicationStatements; what is stopped, over by `now`, or not
    to be given is left out. `included` has the Medications that they refer to, by reference.

    >>> warfarin = {"resourceType": "MedicationRequest", "status": "active",
    ...     "medicationCodeableConcept": {"text": "Warfarin 5 mg tablet"}}
    >>> ibuprofen = {"resourceType": "MedicationRequest", "status": "draft",
    ...     "medicationCodeableConcept": {"text": "Ibuprofen 400 mg tablet"}}
    >>> [(f.rule, f.level) for f in check_medicines([warfarin, ibuprofen], []).findings]
    [('anticoagulant-nsaid', 'strong')]
    """
    medicines = [parse_medicine(order, included or {}) for order in orders if is_in_use(order, now)]
    allergens = [_parse_allergen(allergy) for allergy in allergies if _may_hold(allergy)]
    findings = _Findings(medicines)
    for allergen in allergens:
        for medicine in medicines:
            _check_allergy(findings, allergen, medicine)
    for first, second in combinations(medicines, 2):
        if not _renews(first.resource, second.resource):
            _check_duplicate(findings, first, second)
    _check_interactions(findings, [medicine for medicine in medicines if not medicine.is_local])
    return MedicineCheck(
        findings=findings.sort(),
        size=len(medicines),
        unrecognised=tuple(m.resource for m in medicines if not m.is_recognised),
        unrecognised_allergies=tuple(
            allergen.resource for allergen in allergens if _cannot_be_compared(allergen)
        ),
        local=tuple(medicine.resource for medicine in medicines if medicine.is_local),
    )


def is_in_use(order: Resource, now: datetime | None = None) -> bool:
    """Return whether an order may be in effect: not stopped, not forbidden, not over."""
    if order.get("status", "") not in _IN_USE or order.get("doNotPerform"):
        return False
    end = _end_of_use(order)
    return now is None or not end or end >= now.date().isoformat()[: len(end)]


class _Findings:
    """Findings by what they are about: many pairs under one rule are one finding."""

    def __init__(self, medicines: Sequence[Medicine]) -> None:
        self._place = {id(medicine.resource): n for n, medicine in enumerate(medicines)}
        self._found: dict[tuple[Any, ...], MedicineFinding] = {}

    def add(self, finding: MedicineFinding, *key: object) -> None:
        """Add a finding; one with the same rule and key takes its orders in."""
        found = self._found.get((finding.kind, finding.rule, *key))
        if found is not None:
            by_id = {id(order): order for order in (*found.orders, *finding.orders)}
            finding = MedicineFinding(
                finding.kind,
                min(found.level, finding.level, key=LEVELS.index),
                finding.rule,
                tuple(sorted(by_id.values(), key=lambda order: self._place[id(order)])),
                tuple(dict.fromkeys((*found.ingredients, *finding.ingredients))),
                found.allergy,
                found.source,
            )
        self._found[(finding.kind, finding.rule, *key)] = finding

    def sort(self) -> tuple[MedicineFinding, ...]:
        """Return the findings, the most serious first; of the same level allergies first."""
        return tuple(
            sorted(
                self._found.values(),
                key=lambda finding: (LEVELS.index(finding.level), _KINDS.index(finding.kind)),
            )
        )


def _check_allergy(findings: _Findings, allergen: _Allergen, medicine: Medicine) -> None:
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
    allergen: _Allergen, medicine: Medicine
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


def _check_duplicate(findings: _Findings, first: Medicine, second: Medicine) -> None:
    orders = (first.resource, second.resource)
    add = _adder(findings, DUPLICATE, orders)
    is_regular_with_as_needed = _is_as_needed(first.resource) != _is_as_needed(second.resource)
    level = ATTENTION if is_regular_with_as_needed else STRONG
    if first.codes & second.codes or first.names & second.names:
        add(SAME_CODE, level, tuple(sorted(first.recognition.ingredients)), first.names)
        return
    if first.is_local or second.is_local:
        return
    same = first.recognition.ingredients & second.recognition.ingredients
    for ingredient in sorted(same.difference(load_rules()["together"])):
        # Two strengths of one medicine may make one dose; a combination hides an ingredient.
        is_hidden = len(first.recognition.ingredients | second.recognition.ingredients) > 1
        add(SAME_INGREDIENT, level if is_hidden else ATTENTION, (ingredient,), ingredient)
    if same:
        return
    classes = load_rules()["classes"]
    for group in sorted(first.recognition.groups & second.recognition.groups):
        if classes.get(group, {}).get("doubled"):
            add(SAME_CLASS, ATTENTION, (group,), group)
    if shared := _atc_subgroups(first) & _atc_subgroups(second):
        add(SAME_CLASS, ATTENTION, (), tuple(sorted(shared)))


def _check_interactions(findings: _Findings, medicines: Sequence[Medicine]) -> None:
    for row in load_rules()["interaction"]:
        sides = [(_members(m, row["a"]), _members(m, row["b"]), m) for m in medicines]
        level = _LEVEL_BY_SEVERITY[row["severity"]]
        for left, _, first in sides:
            for _, right, second in sides:
                # The same ingredient twice is a duplicate, and no interaction with itself.
                if first is second or not left or not right or set(left) == set(right):
                    continue
                add = _adder(
                    findings, INTERACTION, (first.resource, second.resource), row["source"]
                )
                add(row["id"], level, (*left, *right), "")


def _adder(
    findings: _Findings, kind: str, orders: tuple[Resource, ...], source: str = ""
) -> Callable[[str, str, tuple[str, ...], object], None]:
    def add(rule: str, level: str, ingredients: tuple[str, ...], key: object) -> None:
        findings.add(MedicineFinding(kind, level, rule, orders, ingredients, source=source), key)

    return add


def _members(medicine: Medicine, groups: Sequence[str]) -> tuple[str, ...]:
    """Return the ingredients of a medicine, or the classes it is named by, that a rule names."""
    named = set(groups)
    if not named & medicine.recognition.groups:
        return ()
    members = [
        ingredient
        for ingredient in sorted(medicine.recognition.ingredients)
        if named & {ingredient, *ingredient_classes(frozenset({ingredient}))}
    ]
    return tuple(members) or tuple(sorted(medicine.recognition.classes & named))


def _parse_allergen(allergy: Resource) -> _Allergen:
    concepts = [
        allergy.get("code", {}),
        *(reaction.get("substance", {}) for reaction in allergy.get("reaction", ())),
    ]
    names = [name for concept in concepts for name in concept_names(concept)]
    return _Allergen(
        allergy,
        join_recognitions(recognise(name) for name in names),
        frozenset(code for concept in concepts for code in concept_codes(concept)),
        frozenset(name.strip().lower() for name in names),
    )


def _may_hold(allergy: Resource) -> bool:
    state = _code(allergy.get("verificationStatus", {}))
    return state not in _NO_ALLERGY and not states_none_or_unknown(allergy.get("code", {}))


def _cannot_be_compared(allergen: _Allergen) -> bool:
    categories = set(allergen.resource.get("category", ()))
    may_be_medicine = is_drug_allergy(allergen.resource) or not categories
    return may_be_medicine and not allergen.recognition.groups


def _shares_name(allergen_names: Iterable[str], medicine_names: Iterable[str]) -> bool:
    """Return whether an allergy is to a name that a medicine is called by, as whole words."""
    medicines = [f" {' '.join(name.split())} " for name in medicine_names]
    for name in allergen_names:
        words = " ".join(name.removeprefix("allergy to ").removesuffix(" allergy").split())
        if len(words) >= _MIN_NAME_LENGTH and any(f" {words} " in text for text in medicines):
            return True
    return False


def _renews(first: Resource, second: Resource) -> bool:
    """Return whether one of two orders is made from the other, so that both are one treatment."""
    return _names_in_elements(first, second) or _names_in_elements(second, first)


def _names_in_elements(order: Resource, other: Resource) -> bool:
    if "id" not in other:
        return False
    target = f"{other.get('resourceType')}/{other['id']}"
    for element in _RENEWAL_ELEMENTS:
        written = order.get(element, ())
        references = [written] if isinstance(written, Mapping) else written
        if any(reference.get("reference") == target for reference in references):
            return True
    return False


def _end_of_use(order: Resource) -> str:
    """Return the last day that an order or statement states, empty where it has none."""
    ends = [
        str(dosage.get("timing", {}).get("repeat", {}).get("boundsPeriod", {}).get("end", ""))
        for dosage in (*order.get("dosageInstruction", ()), *order.get("dosage", ()))
    ]
    if ends and all(ends):
        return max(ends)[:10]
    return str(order.get("effectivePeriod", {}).get("end", ""))[:10]


def _is_as_needed(order: Resource) -> bool:
    dosages = (*order.get("dosageInstruction", ()), *order.get("dosage", ()))
    return any(d.get("asNeededBoolean") or "asNeededCodeableConcept" in d for d in dosages)


def _atc_subgroups(medicine: Medicine) -> set[str]:
    codes = [code for system, code in medicine.codes if system == _ATC]
    return {code[:_ATC_SUBGROUP] for code in codes if len(code) > _ATC_SUBGROUP}


def _code(concept: Resource) -> str:
    return str(next((c["code"] for c in concept.get("coding", ()) if c.get("code")), ""))
