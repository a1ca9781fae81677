"""What the store knows of a person, family and staff, found in a text however it is written.

Names are matched as letters and digits alone, folded, so that spaces, hyphens, commas, case, width
and traditional or simplified characters make no difference; each in every order and romanisation.
All are searched for at once by an Aho-Corasick automaton.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import Any

import ahocorasick

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.romanization import romanize_character
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import SqueezedText, fold_characters, squeeze_text
from ehr_privacy.text.lexicon import load_lexicon

__all__ = ["KnownIdentifiers", "list_known_texts"]

# Romanisations of one name that are searched for: two characters of a given name have some dozens
# of spellings together. Chosen.
_MOST_SPELLINGS = 400
_LEAST_LATIN = 4
_LEAST_DIGITS = 5


@dataclass(frozen=True)
class _Target:
    """A text to find: its type, whose it is (`key`), and whether it must begin with a capital."""

    type: str
    key: str
    needs_capital: bool = False


class KnownIdentifiers:
    """The identifiers of some people and organisations, ready to be found in texts.

    `people` maps a key (such as `Patient/1`, by which all surrogates of one person are one) to the
    FHIR resource or resources (JSON) that tell of them.
    """

    def __init__(self, people: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        self._automaton = ahocorasick.Automaton()
        for key, resources in people.items():
            for resource in resources:
                for text, target in list_known_texts(key, resource):
                    known = self._automaton.get(text, None)
                    # Who is told of first is meant; a name without capitals matches more.
                    if known is None or (known[1].needs_capital and not target.needs_capital):
                        self._automaton.add_word(text, (len(text), target))
        self._is_empty = not len(self._automaton)
        if not self._is_empty:
            self._automaton.make_automaton()

    def find(self, text: str, squeezed: SqueezedText) -> Iterator[Entity]:
        """Yield what is known in a text, whose folded letters and digits are given."""
        if self._is_empty:
            return
        for last, (length, target) in self._automaton.iter(squeezed.text):
            start = squeezed.offsets[last - length + 1]
            end = squeezed.offsets[last] + 1
            if not _is_whole(text, start, end) or end - start > 3 * length + 4:
                continue
            if target.needs_capital and not text[start].isupper():
                continue
            yield Entity(start, end, target.type, 1.0, target.key)


def list_known_texts(key: str, resource: Mapping[str, Any]) -> Iterator[tuple[str, _Target]]:
    """Yield the texts by which a resource's person or organisation is known, squeezed."""
    kind = resource.get("resourceType")
    if kind in ("Organization", "Location"):
        yield from _list_organization_names(key, resource)
    elif kind in ("Patient", "RelatedPerson", "Practitioner", "Person"):
        for name in _dicts(resource.get("name")):
            for text, needs_capital in _list_name_texts(name):
                yield text, _Target("PERSON", key, needs_capital)
    for identifier in _dicts(resource.get("identifier")):
        yield from _list_identifier_texts(key, str(identifier.get("value", "")))
    for telecom in _dicts(resource.get("telecom")):
        yield from _list_telecom_texts(key, str(telecom.get("value", "")))
    for address in _dicts(resource.get("address")):
        yield from _list_address_texts(key, address)
    for number, contact in enumerate(_dicts(resource.get("contact"))):
        if isinstance(contact.get("name"), dict):
            contact = {**contact, "name": [contact["name"]]}
        if isinstance(contact.get("address"), dict):
            contact = {**contact, "address": [contact["address"]]}
        yield from list_known_texts(f"{key}#{number}", {**contact, "resourceType": "RelatedPerson"})


def _dicts(value: Any) -> list[dict[str, Any]]:
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, dict)]


def _is_whole(text: str, start: int, end: int) -> bool:
    """Say whether no word or number goes on before or after, as Chan in Chance."""
    return not (start and _goes_on(text[start - 1], text[start])) and not (
        end < len(text) and _goes_on(text[end], text[end - 1])
    )


def _goes_on(neighbour: str, inside: str) -> bool:
    if not (neighbour.isalnum() and inside.isalnum()):
        return False
    return neighbour.isascii() and inside.isascii()


def _squeeze(text: str) -> str:
    return squeeze_text(fold_characters(text)).text


def _is_chinese(text: str) -> bool:
    return bool(text) and all("\u3400" <= character for character in text)


def _list_name_texts(name: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a HumanName, and whether each counts in capitals alone."""
    family = str(name.get("family") or "")
    given = [str(part) for part in name.get("given") or () if isinstance(part, str)]
    written = str(name.get("text") or "")
    if not family and written:
        family, given = _divide(written)
    squeezed = _squeeze(written)
    if len(squeezed) >= _LEAST_LATIN or (_is_chinese(squeezed) and len(squeezed) > 1):
        yield squeezed, False
    if family and _is_chinese(_squeeze(family)):
        yield from _list_chinese_texts(_squeeze(family), _squeeze("".join(given)))
    elif family:
        yield from _list_latin_texts(family, given)


def _divide(written: str) -> tuple[str, list[str]]:
    """Divide a name that is given as one text: a surname in capitals, or the first word."""
    squeezed = _squeeze(written)
    if _is_chinese(squeezed):
        surnames = load_lexicon().surnames
        cut = 2 if squeezed[:2] in surnames and len(squeezed) > 2 else 1
        return squeezed[:cut], [squeezed[cut:]]
    words = re.findall(r"[^\W\d_\u3400-\u9fff][\w'’-]*", written)
    capitals = [word for word in words if word.isupper() and len(word) > 1]
    if not words:
        return "", []
    if capitals and len(capitals) < len(words):
        return " ".join(capitals), [word for word in words if word not in capitals]
    return words[0], words[1:]


def _list_latin_texts(family: str, given: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield a name in Latin letters in each order, with initials, and its given names alone."""
    last = _squeeze(family)
    groups = [
        [_squeeze(part) for part in re.split(r"[\s\-,]+", text) if _squeeze(part)] for text in given
    ]
    groups = [group for group in groups if group]
    if last not in load_lexicon().ordinary_words:
        yield last, True
    # A Chinese and an English name beside each other: either alone and both, in every order.
    for count in range(1, min(len(groups), 3) + 1):
        for chosen in permutations(groups, count):
            words = [part for group in chosen for part in group]
            joined = "".join(words)
            # Two short words may be words of a sentence: so man.
            needs_capital = len(words) < 2
            for text in (last + joined, joined + last, *_around(last, chosen)):
                yield text, needs_capital
            initials = "".join(part[0] for part in words)
            for text in (initials + last, last + initials):
                if len(text) >= _LEAST_LATIN:
                    yield text, True
            if len(joined) >= _LEAST_LATIN:
                yield joined, True
    for part in (part for group in groups for part in group):
        if len(part) >= _LEAST_LATIN:
            yield part, True


def _around(last: str, groups: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield names with the surname in the middle: Peter CHAN Tai Man."""
    for cut in range(1, len(groups)):
        first, second = groups[:cut], groups[cut:]
        yield (
            "".join(part for group in first for part in group)
            + last
            + "".join(part for group in second for part in group)
        )


def _list_chinese_texts(family: str, given: str) -> Iterator[tuple[str, bool]]:
    """Yield a name in Chinese characters, and its romanisations in each order."""
    if not given:
        return
    yield family + given, False
    if len(given) > 1:
        yield given, False
    spelt_family = load_lexicon().spellings_by_surname.get(family) or (
        romanize_character(family) if len(family) == 1 else frozenset()
    )
    spelt_given = [romanize_character(character) for character in given]
    count = 0
    for parts in islice(product(*(sorted(each) for each in spelt_given)), _MOST_SPELLINGS):
        joined = "".join(parts)
        for last in spelt_family:
            count += 1
            if count > _MOST_SPELLINGS:
                return
            if len(last + joined) > _LEAST_LATIN:
                yield last + joined, True
                yield joined + last, True


def _list_identifier_texts(key: str, value: str) -> Iterator[tuple[str, _Target]]:
    text = _squeeze(value)
    if len(text) < _LEAST_DIGITS or not any(character.isdigit() for character in text):
        return
    kind = "IDENTITY_CARD" if JURISDICTION.person_identifier.is_valid(value) else "IDENTIFIER"
    yield text, _Target(kind, key)
    if kind == "IDENTITY_CARD":
        # Without its check digit.
        yield text[:-1], _Target(kind, key)


def _list_telecom_texts(key: str, value: str) -> Iterator[tuple[str, _Target]]:
    if "@" in value:
        yield _squeeze(value), _Target("EMAIL", key)
        return
    digits = "".join(character for character in value if character.isdigit())
    if len(digits) >= 7:
        yield digits, _Target("PHONE", key)
    if digits.startswith("852") and len(digits) == 11:
        yield digits[3:], _Target("PHONE", key)


def _list_address_texts(key: str, address: Mapping[str, Any]) -> Iterator[tuple[str, _Target]]:
    target = _Target("ADDRESS", key)
    lines = [str(line) for line in address.get("line") or () if isinstance(line, str)]
    for text in (*lines, str(address.get("text") or "")):
        for part in re.split(r"[,，\n]", text):
            squeezed = _squeeze(part)
            least = 3 if _is_chinese(squeezed) else 7
            if len(squeezed) >= least:
                yield squeezed, target
        if len(_squeeze(text)) >= 7:
            yield _squeeze(text), target


def _list_organization_names(
    key: str, resource: Mapping[str, Any]
) -> Iterator[tuple[str, _Target]]:
    names = [resource.get("name"), *(resource.get("alias") or ())]
    for name in names:
        text = _squeeze(str(name or ""))
        least = 4 if _is_chinese(text) else 8
        if len(text) >= least:
            yield text, _Target("ORGANIZATION", key)
