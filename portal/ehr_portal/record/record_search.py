"""Search in a record by words: what is asked of the gateway, and where the words stand in a text.

A reader searches in their own language, and the record is in another: codes whose everyday name
holds the words are searched for as well as the words themselves (Full-text search, `_content`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.record.designations import known_designations
from ehr_portal.record.plain_names import TEXT_TABLE, load_names
from ehr_portal.record.sections import SECTIONS, Section

# More words are no search but a text. Chosen.
MAX_WORDS = 8
# Codes that one search asks for. Chosen: "pain" has some forty.
MAX_CODES = 120
# Words of one full-text query. The gateway takes 64.
MAX_QUERY_WORDS = 60
# From so many letters on, a word finds those that begin with it (the gateway's least).
_PREFIX_LETTERS = 3
# Letters and digits with what may stand within a word; an underscore alone is none.
_WORD = re.compile(r"[^\W_]+(?:[-'._]+[^\W_]+)*")
_HAN = re.compile(r"[\u3400-\u9fff]")
# Search parameters of codes, and the types that have each.
CODE_PARAMS: Mapping[str, tuple[str, ...]] = {
    "code": (
        "AllergyIntolerance", "Condition", "DiagnosticReport", "FamilyMemberHistory", "List",
        "MedicationAdministration", "MedicationDispense", "MedicationRequest",
        "MedicationStatement", "Observation", "Procedure", "ServiceRequest",
    ),
    "medication.code": (
        "MedicationAdministration", "MedicationDispense", "MedicationRequest",
        "MedicationStatement",
    ),
    "type": ("Composition", "DocumentReference", "Encounter", "EpisodeOfCare"),
    "vaccine-code": ("Immunization",),
    "service-type": ("Appointment",),
    "category": ("CarePlan",),
}  # fmt: skip
# The types whose text names a medicine by a reference.
_OF_MEDICINES = CODE_PARAMS["medication.code"]
_INCLUDES = tuple(f"{resource_type}:medication" for resource_type in _OF_MEDICINES)


@dataclass(frozen=True)
class RecordSearch:
    """One search of the gateway, over the types of a compartment."""

    types: tuple[str, ...]
    params: Mapping[str, str]


def parse_words(typed: str) -> tuple[str, ...]:
    """Return the words that somebody typed; a Chinese keyboard may have full-width letters.

    >>> parse_words(' "Chest  pain", (COVID-19)')
    ('Chest', 'pain', 'COVID-19')
    >>> parse_words("ａｓｐｉｒｉｎ　１００")
    ('aspirin', '100')
    """
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", typed)))[:MAX_WORDS]


def build_searches(words: Sequence[str]) -> list[RecordSearch]:
    """Return what to ask so that the words are found in any of the languages."""
    texts, codes = _matching_names(words)
    content = " OR ".join([_content_query(words), *_phrases(texts, MAX_QUERY_WORDS - len(words))])
    every_type = tuple(
        sorted({search.resource_type for section in SECTIONS for search in section.searches})
    )
    searches = [
        RecordSearch(every_type, {"_content": content}),
        RecordSearch(_OF_MEDICINES, {"medication._content": content}),
    ]
    if codes:
        value = ",".join(f"{system}|{code}" for system, code in codes[:MAX_CODES])
        searches += [RecordSearch(types, {name: value}) for name, types in CODE_PARAMS.items()]
    return searches


def search_params(search: RecordSearch) -> dict[str, str | Sequence[str]]:
    """Return the parameters of a search, with the medicines that are named by reference."""
    includes = [name for name in _INCLUDES if name.partition(":")[0] in search.types]
    return {
        "_type": ",".join(search.types),
        **search.params,
        **({"_include": includes} if includes else {}),
    }


def section_of(resource: Resource) -> Section:
    """Return the section in which a record stands; the last one for what has no other."""
    resource_type = resource["resourceType"]
    categories = {
        coding.get("code")
        for category in resource.get("category", ())
        if isinstance(category, Mapping)
        for coding in category.get("coding", ())
    }
    fitting = [
        section
        for section in SECTIONS
        for search in section.searches
        if search.resource_type == resource_type
        and categories.intersection(search.params.get("category", "").split(","))
    ]
    by_type = [
        section
        for section in SECTIONS
        if section.social is not True
        for search in section.searches
        if search.resource_type == resource_type and "category" not in search.params
    ]
    return next(iter([*fitting, *by_type]), SECTIONS[-1])


def mark_words(text: str, words: Iterable[str]) -> list[tuple[str, bool]]:
    """Return a text in parts, each with whether it is one of the words.

    >>> mark_words("Chest pain, chest", ["CHEST"])
    [('Chest', True), (' pain, ', False), ('chest', True)]
    """
    wanted = [re.escape(word) for word in sorted(words, key=len, reverse=True)]
    if not wanted:
        return [(text, False)] if text else []
    parts = re.split(f"({'|'.join(wanted)})", text, flags=re.IGNORECASE)
    # re.split puts what is between at even places and what matched at odd ones.
    return [(part, number % 2 == 1) for number, part in enumerate(parts) if part]


def _content_query(words: Sequence[str]) -> str:
    """Return words as `_content` takes them: all of them, each also as a beginning.

    >>> _content_query(["Chest", "OR", "痛"])
    'chest* or 痛'
    """
    # In lower case: OR, NOT and AND in capitals are operators.
    return " ".join(f"{word.lower()}*" if _takes_prefix(word) else word.lower() for word in words)


def _takes_prefix(word: str) -> bool:
    return len(word) >= _PREFIX_LETTERS and word.isalnum() and not _HAN.search(word)


def _phrases(texts: Iterable[str], most_words: int) -> list[str]:
    """Return texts as phrases of `_content`, as long as there is room for their words."""
    phrases = []
    for text in texts:
        found = _WORD.findall(text)
        most_words -= len(found)
        if most_words < 0:
            break
        phrases.append(f'"{" ".join(found)}"')
    return phrases


def _matching_names(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the texts and the codes (system, code) whose name in some language has all words."""
    wanted = [word.casefold() for word in words]

    def fits(names: Iterable[str]) -> bool:
        return any(all(word in name.casefold() for word in wanted) for name in names)

    texts, codes = [], []
    for table, names_by_key in load_names().items():
        for key, names in names_by_key.items():
            if not fits(names):
                continue
            if table == TEXT_TABLE:
                texts.append(key)
            elif ":" in table:
                codes.append((table, key))
    codes += [key for key, names in known_designations().items() if fits(names.values())]
    return texts, list(dict.fromkeys(codes))
