"""Checks of medicines against each other and against allergies, by a short open set of rules.

Duplicates (same ingredient, same class), well-known interactions, and allergies by ingredient,
class or code. It is a display aid: `MedicineCheck` says what was not recognised, and so not
checked. The rules and their sources are data, in medicine_rules.toml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import local_date
from ehr_portal.record.dosage import end_of_dosages, order_dosages
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, STRONG
from ehr_portal.record.medicine_allergies import (
    cannot_be_compared,
    check_allergy,
    may_hold,
    parse_allergen,
)
from ehr_portal.record.medicine_findings import (
    ALLERGY,
    DUPLICATE,
    INTERACTION,
    SAME_CLASS,
    SAME_CODE,
    SAME_INGREDIENT,
    Findings,
    MedicineFinding,
)
from ehr_portal.record.medicine_names import (
    Medicine,
    ingredient_classes,
    load_rules,
    parse_medicine,
)

__all__ = [
    "ALLERGY",
    "DUPLICATE",
    "INTERACTION",
    "SAME_CLASS",
    "SAME_CODE",
    "SAME_INGREDIENT",
    "MedicineCheck",
    "MedicineFinding",
    "check_medicines",
]

_LEVEL_BY_SEVERITY = {"contraindicated": CRITICAL, "serious": STRONG, "monitor": ATTENTION}
_ATC = "http://www.whocc.no/atc"
# The first characters of an ATC code that name the chemical subgroup (its fourth level).
_ATC_SUBGROUP = 5
# Orders of these states are taken, or may be: what is over or was a mistake interacts with nothing.
_IN_USE = frozenset({"active", "on-hold", "draft", "unknown", "intended", "not-stated", ""})
# Elements by which an order names the one that it renews or was made from.
_RENEWAL_ELEMENTS = ("priorPrescription", "basedOn", "derivedFrom", "replaces", "partOf")


@dataclass(frozen=True)
class MedicineCheck:
    """What a check found, and what it could not check."""

    # The most serious first.
    findings: tuple[MedicineFinding, ...]
    # How many orders were checked against each other.
    size: int
    # How many allergies they were compared with: none that was ruled out or only says "none known".
    allergy_count: int
    # Orders whose medicine, or a part of it, was not recognised: not checked by ingredient.
    unrecognised: tuple[Resource, ...]
    # Allergies, to medicines or of no stated kind, that no medicine can be compared with.
    unrecognised_allergies: tuple[Resource, ...]
    # Orders that act where they are put: checked against allergies and exact duplicates only.
    local: tuple[Resource, ...]


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
    in_use = [order for order in orders if _is_in_use(order, now)]
    medicines = [parse_medicine(order, included or {}) for order in in_use]
    allergens = [parse_allergen(allergy) for allergy in allergies if may_hold(allergy)]
    findings = Findings(medicines)
    for allergen in allergens:
        for medicine in medicines:
            check_allergy(findings, allergen, medicine)
    for first, second in combinations(medicines, 2):
        if not _renews(first.resource, second.resource):
            _check_duplicate(findings, first, second)
    _check_interactions(findings, [medicine for medicine in medicines if not medicine.is_local])
    return MedicineCheck(
        findings=findings.sort(),
        size=len(medicines),
        allergy_count=len(allergens),
        unrecognised=tuple(m.resource for m in medicines if not m.is_recognised),
        unrecognised_allergies=tuple(
            allergen.resource for allergen in allergens if cannot_be_compared(allergen)
        ),
        local=tuple(medicine.resource for medicine in medicines if medicine.is_local),
    )


def _is_in_use(order: Resource, now: datetime | None = None) -> bool:
    """Return whether an order may be in effect: not stopped, not forbidden, not over."""
    if order.get("status", "") not in _IN_USE or order.get("doNotPerform"):
        return False
    end = _end_of_use(order)
    return now is None or not end or end >= local_date(now).isoformat()[: len(end)]


def _check_duplicate(findings: Findings, first: Medicine, second: Medicine) -> None:
    orders = (first.resource, second.resource)

    def add(rule: str, level: str, ingredients: tuple[str, ...], key: object) -> None:
        findings.add(MedicineFinding(DUPLICATE, level, rule, orders, ingredients), key)

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


def _check_interactions(findings: Findings, medicines: Sequence[Medicine]) -> None:
    for row in load_rules()["interaction"]:
        sides = [(_members(m, row["a"]), _members(m, row["b"]), m) for m in medicines]
        level = _LEVEL_BY_SEVERITY[row["severity"]]
        for left, _, first in sides:
            for _, right, second in sides:
                # The same ingredient twice is a duplicate, and no interaction with itself.
                if first is second or not left or not right or set(left) == set(right):
                    continue
                findings.add(
                    MedicineFinding(
                        INTERACTION,
                        level,
                        row["id"],
                        (first.resource, second.resource),
                        (*left, *right),
                        source=row["source"],
                    )
                )


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
    return end_of_dosages(order) or str(order.get("effectivePeriod", {}).get("end", ""))[:10]


def _is_as_needed(order: Resource) -> bool:
    return any(
        dosage.get("asNeededBoolean") or "asNeededCodeableConcept" in dosage
        for dosage in order_dosages(order)
    )


def _atc_subgroups(medicine: Medicine) -> set[str]:
    codes = [code for system, code in medicine.codes if system == _ATC]
    return {code[:_ATC_SUBGROUP] for code in codes if len(code) > _ATC_SUBGROUP}
