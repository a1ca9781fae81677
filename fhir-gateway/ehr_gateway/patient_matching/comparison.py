"""How two identities agree, element by element: the levels that evidence is weighed by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import product
from typing import TypeVar

from rapidfuzz.distance import OSA

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.patient_matching.identity import Identity
from ehr_privacy.romanization import romanize_character

__all__ = ["LEVELS", "compare_identities"]

# Element -> its levels, the closest first. A name is compared as one of three elements: by
# characters where both have them, else by letters where both have these, else across the two.
LEVELS = {
    "number": ("same", "slip", "different"),
    "characters": ("same", "in-part", "one-word", "different"),
    "letters": ("same", "slip", "in-part", "one-word", "different"),
    "reading": ("same", "different"),
    "birth-date": ("same", "slip", "same-year", "different"),
    "gender": ("same", "different"),
    "telephone": ("same", "different"),
}
_WHOLE_DATE = len("YYYY-MM-DD")
T = TypeVar("T", str, tuple[str, ...])


def compare_identities(one: Identity, other: Identity) -> dict[str, str]:
    """Return the level of each element that both say something about; others are left out."""
    levels = {
        "number": _closest("number", _compare_numbers, one.numbers, other.numbers),
        **_compare_names(one, other),
        "birth-date": _compare_birth_dates(one.birth_date, other.birth_date),
        "gender": _compare_values({one.gender} - {""}, {other.gender} - {""}),
        "telephone": _compare_values(one.telephones, other.telephones),
    }
    return {element: level for element, level in levels.items() if level}


def _closest(
    element: str, compare: Callable[[T, T], str], one: Collection[T], other: Collection[T]
) -> str:
    levels = (compare(*pair) for pair in product(one, other))
    return min(levels, key=LEVELS[element].index, default="")


def _compare_values(one: Collection[str], other: Collection[str]) -> str:
    if not one or not other:
        return ""
    return "different" if set(one).isdisjoint(other) else "same"


def _compare_numbers(one: str, other: str) -> str:
    """Compare numbers; two that differ by a slip of the pen cannot both have a right check digit.

    >>> [_compare_numbers("A1234563", other) for other in ("A1234563", "A1243563", "B1234569")]
    ['same', 'slip', 'different']
    """
    if one == other:
        return "same"
    is_valid = JURISDICTION.person_identifier.is_valid
    both_valid = is_valid(one) and is_valid(other)
    return "different" if both_valid or OSA.distance(one, other) > 1 else "slip"


def _compare_birth_dates(one: str, other: str) -> str:
    """Compare dates to the precision that both have; day and month are easily exchanged.

    >>> others = ("1950-04-03", "1950-03-14", "1950-12-30", "1950", "1951-12-30")
    >>> [_compare_birth_dates("1950-03-04", other) for other in others]
    ['slip', 'slip', 'same-year', 'same-year', 'different']
    """
    if not one or not other:
        return ""
    if len(one) == len(other) == _WHOLE_DATE:
        if one == other:
            return "same"
        exchanged = one[:4] + one[7:] + one[4:7]
        if exchanged == other or OSA.distance(one, other) == 1:
            return "slip"
    return "same-year" if one[:4] == other[:4] else "different"


def _compare_names(one: Identity, other: Identity) -> dict[str, str]:
    """Compare by characters where both have them: many names are spelt alike in letters."""
    if one.characters and other.characters:
        level = _closest("characters", _compare_characters, one.characters, other.characters)
        return {"characters": level}
    pairs = [*product(one.characters, other.words), *product(other.characters, one.words)]
    is_reading = any(_is_written_as(*pair) for pair in pairs)
    if one.words and other.words:
        level = _closest("letters", _compare_letters, one.words, other.words)
        return {"letters": "same" if is_reading else level}
    return {"reading": "same" if is_reading else "different"} if pairs else {}


def _compare_characters(one: str, other: str) -> str:
    """Compare names in characters, of which the first is the surname's.

    >>> [_compare_characters("陈大文", other) for other in ("陈大文", "陈大明", "陈小明", "李小明")]
    ['same', 'in-part', 'one-word', 'different']
    """
    if one == other:
        return "same"
    if min(len(one), len(other)) > 2 and OSA.distance(one, other) == 1:
        return "in-part"
    return "one-word" if one[0] == other[0] else "different"


def _compare_letters(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """Compare names in letters: their words may be written as one, and the surname first or last.

    >>> others = ("chan taiman", "tai man chan", "chan tai mann", "chan tai man peter", "chan may")
    >>> [_compare_letters(("chan", "tai", "man"), tuple(other.split())) for other in others]
    ['same', 'same', 'slip', 'in-part', 'one-word']
    """
    if set(one) == set(other):
        return "same"
    letters = "".join(one)
    distance = min(OSA.distance(letters, turned) for turned in _turn(other))
    if distance <= 1:
        return "slip" if distance else "same"
    shared = len(set(one) & set(other))
    return ("different", "one-word", "in-part")[min(shared, 2)]


def _is_written_as(characters: str, words: tuple[str, ...]) -> bool:
    """Say whether words can be the reading of characters, in Cantonese or in Mandarin.

    A word more is a name that the characters do not have, as Peter of Peter Chan Tai Man.

    >>> [_is_written_as("陈大文", tuple(words.split()))
    ...  for words in ("chan tai man", "dawen chen", "peter chan tai man", "wong tai man")]
    [True, True, True, False]
    """
    fewer = (words[:place] + words[place + 1 :] for place in range(len(words)))
    return any(
        _is_reading(characters, letters)
        for spelt in (words, *(rest for rest in fewer if len(rest) > 1))
        for letters in _turn(spelt)
    )


def _is_reading(characters: str, letters: str) -> bool:
    if not characters or not letters:
        return not characters and not letters
    return any(
        letters.startswith(spelling) and _is_reading(characters[1:], letters[len(spelling) :])
        for spelling in romanize_character(characters[0])
    )


def _turn(words: tuple[str, ...]) -> Iterator[str]:
    """Yield the letters of a name from each of its words on, around the end."""
    for start in range(len(words)):
        yield "".join(words[start:] + words[:start])
