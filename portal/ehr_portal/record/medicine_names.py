"""Medicines recognised by the names of their active ingredients (INN), from medicine_rules.toml.

No licensed vocabulary is needed: an order is read by what its code is called. What has no known
name in it stays unrecognised, and the pages say so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import HAN
from ehr_portal.record.dosage import order_dosages

# What stands between the ingredients of a combination, as RxNorm and dm+d write it.
_INGREDIENT_SEPARATOR = re.compile(r" [/+] ")
# Numbers with their units, as in "500 mg/125 mg" and "100 units/mL": their stroke parts nothing.
_UNIT = (
    r"(?:(?:%|mg|mcg|ug|g|ml|l|meq|mmol|hr|h|iu|units?|micrograms?|milligrams?|grams?"
    r"|actuat(?:ions?)?|doses?|puffs?|sprays?|毫克|微克|克|毫升|升|單位|单位)(?![a-z]))"
)
_AMOUNT = re.compile(rf"\d[\d.,]*\s*{_UNIT}?(?:\s*/\s*(?:\d[\d.,]*\s*{_UNIT}?|{_UNIT}))*")
# What people write between two ingredients, beside what RxNorm and dm+d do.
_LOOSE_SEPARATOR = re.compile(r"[/+,;&、，；／＋]|\b(?:and|with|plus)\b|[及和與与]")
# In brackets stand brands and packs.
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）")
# What may be a name: a word of four letters, or two characters of Chinese.
_NAME_LIKE = re.compile(rf"[a-z]{{4,}}|{HAN.pattern}{{2,}}")
# Words of a medicine that acts where it is put: on skin, eye, ear, nose or in the airways.
_LOCAL_USE = re.compile(
    r"\b(?:topical|cutaneous|cream|ointment|lotion|shampoo|ophthalmic|eye drops?|otic|ear drops?"
    r"|nasal|inhaler|mouthwash)\b|外用|乳膏|滴眼|滴耳|[噴喷]鼻|吸入[劑剂]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Recognition:
    """What a text is recognised as: active ingredients, and classes named by themselves."""

    ingredients: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    # Some part of the text, such as the second ingredient of a combination, was not recognised.
    is_partial: bool = True

    @property
    def groups(self) -> frozenset[str]:
        """Return the ingredients and every class they are in: what a rule may name."""
        return self.ingredients | self.classes | ingredient_classes(self.ingredients)


@dataclass(frozen=True)
class Medicine:
    """The medicine of one order or statement, as far as it is recognised."""

    resource: Resource = field(repr=False)
    recognition: Recognition
    # (system, code) of each coding.
    codes: frozenset[tuple[str, str]]
    # What it is called, in lower case.
    names: frozenset[str]
    # It acts where it is put, so that rules about the whole body say little.
    is_local: bool

    @property
    def is_recognised(self) -> bool:
        """Return whether every part of one of its names is known."""
        return not self.recognition.is_partial


@cache
def load_rules() -> dict[str, Any]:
    """Return medicine_rules.toml."""
    return tomllib.loads((files(__package__) / "medicine_rules.toml").read_text("utf-8"))


def parse_medicine(order: Resource, included: Mapping[str, Resource]) -> Medicine:
    """Return the medicine of an order; `included` has the Medications that orders refer to."""
    concepts = list(_medicine_concepts(order, included))
    names = [name for concept in concepts for name in concept_names(concept)]
    routes = [
        name for dosage in order_dosages(order) for name in concept_names(dosage.get("route", {}))
    ]
    return Medicine(
        resource=order,
        recognition=join_recognitions(recognise(name) for name in names),
        codes=frozenset(code for concept in concepts for code in concept_codes(concept)),
        names=frozenset(name.strip().lower() for name in names if name.strip()),
        is_local=any(_LOCAL_USE.search(text) for text in (*names, *routes)),
    )


def concept_names(concept: Resource) -> list[str]:
    """Return the text of a CodeableConcept and what its codings are called."""
    displays = [coding.get("display", "") for coding in concept.get("coding", ())]
    return [str(name) for name in dict.fromkeys((concept.get("text", ""), *displays)) if name]


def concept_codes(concept: Resource) -> Iterator[tuple[str, str]]:
    """Yield the system and code of each coding that has both."""
    for coding in concept.get("coding", ()):
        if coding.get("system") and coding.get("code"):
            yield str(coding["system"]), str(coding["code"])


@lru_cache(maxsize=4096)
def recognise(text: str) -> Recognition:
    """Return the ingredients and classes that a text names.

    >>> sorted(recognise("Acetaminophen 300 MG / Hydrocodone Bitartrate 5 MG").ingredients)
    ['hydrocodone', 'paracetamol']
    >>> recognise("Warfarin 5 MG / Obscurin 1 MG").is_partial
    True
    >>> recognise("warfarin 5 mg, obscurin").is_partial, recognise("warfarin, tablet").is_partial
    (True, False)
    >>> recognise("Sulfonamide antibiotics").classes
    frozenset({'sulfonamide-antibiotic'})
    """
    ingredients: set[str] = set()
    classes: set[str] = set()
    is_partial = False
    names = _load_names()
    for part in _INGREDIENT_SEPARATOR.split(" ".join(text.lower().split())):
        matches = _name_pattern().findall(part)
        is_partial = is_partial or not matches or _has_unknown_part(part)
        for name in matches:
            ingredients |= names[name].ingredients
            classes |= names[name].classes
    return Recognition(frozenset(ingredients), frozenset(classes), is_partial)


def _has_unknown_part(text: str) -> bool:
    """Return whether a text that has a known name names something else beside it."""
    # A known name becomes a sign that is in no text, so that a separator within it parts nothing.
    rest = _AMOUNT.sub(" ", _ASIDE.sub(" ", _name_pattern().sub("\0", text)))
    forms = load_rules()["form-words"]
    return any(
        "\0" not in part and any(name not in forms for name in _NAME_LIKE.findall(part))
        for part in _LOOSE_SEPARATOR.split(rest)
    )


def join_recognitions(recognitions: Iterable[Recognition]) -> Recognition:
    """Return all that several names of one thing say; one that is whole makes it whole."""
    joined = list(recognitions)
    return Recognition(
        frozenset().union(*(found.ingredients for found in joined)),
        frozenset().union(*(found.classes for found in joined)),
        all(found.is_partial for found in joined),
    )


@lru_cache(maxsize=4096)
def ingredient_classes(ingredients: frozenset[str]) -> frozenset[str]:
    """Return every class that one of some ingredients is in.

    >>> sorted(ingredient_classes(frozenset({"warfarin"})))
    ['anticoagulant', 'vitamin-k-antagonist']
    """
    known = load_rules()["ingredients"]
    return frozenset(group for ingredient in ingredients for group in known[ingredient][0])


def _medicine_concepts(order: Resource, included: Mapping[str, Resource]) -> Iterator[Resource]:
    """Yield the codes of an order's medicine, and of the ingredients its Medication names."""
    if "medicationCodeableConcept" in order:
        yield order["medicationCodeableConcept"]
    reference = order.get("medicationReference", {})
    if reference.get("display"):
        yield {"text": reference["display"]}
    contained = {f"#{inner.get('id', '')}": inner for inner in order.get("contained", ())}
    target = reference.get("reference", "")
    medication = contained.get(target) or included.get(target)
    if medication:
        yield medication.get("code", {})
        ingredients = [
            name
            for ingredient in medication.get("ingredient", ())
            for name in concept_names(ingredient.get("itemCodeableConcept", {}))[:1]
        ]
        # As one name, so that an ingredient that is not recognised leaves the whole partial.
        yield {"text": " / ".join(ingredients)}


@cache
def _load_names() -> dict[str, Recognition]:
    """Return what each known name, in lower case, stands for."""
    rules = load_rules()
    named: dict[str, list[Recognition]] = {}
    for ingredient, (_, synonyms, *chinese) in rules["ingredients"].items():
        for name in (ingredient, *synonyms, *chinese):
            named.setdefault(name.lower(), []).append(Recognition(frozenset({ingredient})))
    for group, row in rules["classes"].items():
        for name in row.get("names", ()):
            named.setdefault(name, []).append(Recognition(classes=frozenset({group})))
    return {name: join_recognitions(meanings) for name, meanings in named.items()}


@cache
def _name_pattern() -> re.Pattern[str]:
    """Return one pattern of all names; the longest wins, so that penicillin V is no penicillin."""
    longest_first = sorted(_load_names(), key=len, reverse=True)
    alternatives = (
        # Chinese has no spaces between words.
        re.escape(name) if HAN.search(name) else rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])"
        for name in longest_first
    )
    return re.compile("|".join(alternatives))
