"""Who a Patient says it is: numbers, names, birth date, sex and telephones, in one writing each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.string_folding import normalize_string

__all__ = ["Identity", "read_identity"]

# Elements of one description that are compared. Chosen: nobody has more names or telephones.
_MOST = 20
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")
_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class Identity:
    """What two descriptions of a person are compared by; empty where one says nothing."""

    # The number of the jurisdiction's identity document, as capitals and digits alone.
    numbers: frozenset[str]
    # Names in letters, as folded words in the order they were written in.
    words: frozenset[tuple[str, ...]]
    # Names in Chinese characters, the traditional ones as simplified.
    characters: frozenset[str]
    # YYYY, YYYY-MM or YYYY-MM-DD.
    birth_date: str
    gender: str
    telephones: frozenset[str]

    @property
    def says_nothing(self) -> bool:
        """Say whether there is nothing to find a person by."""
        return not (
            self.numbers or self.words or self.characters or self.birth_date or self.telephones
        )


def read_identity(patient: Mapping[str, Any]) -> Identity:
    """Read the identity of a Patient, leaving out what is malformed.

    >>> told = read_identity({
    ...     "name": [{"family": "CHAN", "given": ["Tai-Man"]}, {"text": "陳大文"}],
    ...     "telecom": [{"system": "phone", "value": "+852 5555 0001"}],
    ... })
    >>> [*told.words, *told.characters, *told.telephones]
    [('chan', 'tai', 'man'), '陈大文', '55550001']
    """
    names, born = list(_names(patient)), _text(patient.get("birthDate"))
    words = (tuple(_IDEOGRAPHS.sub(" ", name).split()) for name in names)
    characters = ("".join(_IDEOGRAPHS.findall(name)) for name in names)
    return Identity(
        numbers=frozenset(_numbers(patient)),
        words=frozenset(filter(None, words)),
        characters=frozenset(filter(None, characters)),
        birth_date=born if _DATE.fullmatch(born) else "",
        gender=_text(patient.get("gender")).replace("unknown", ""),
        telephones=frozenset(_telephones(patient)),
    )


def _numbers(patient: Mapping[str, Any]) -> Iterable[str]:
    document = JURISDICTION.person_identifier
    for identifier in _objects(patient.get("identifier")):
        if identifier.get("system") == document.system and identifier.get("use") != "old":
            number = document.normalize(_text(identifier.get("value")))
            if number:
                yield number


def _names(patient: Mapping[str, Any]) -> Iterable[str]:
    """Yield each name folded; its parts rather than its text, which has them in any order."""
    for name in _objects(patient.get("name")):
        given = name.get("given")
        parts = [name.get("family"), *(given if isinstance(given, list) else ())]
        written = " ".join(filter(None, map(_text, parts)))
        yield normalize_string(written or _text(name.get("text")))


def _telephones(patient: Mapping[str, Any]) -> Iterable[str]:
    for contact in _objects(patient.get("telecom")):
        if contact.get("system") in ("phone", "sms") and contact.get("use") != "old":
            number = JURISDICTION.telephone.normalize(_text(contact.get("value")))
            if number:
                yield number


def _objects(values: Any) -> list[dict[str, Any]]:
    listed = values if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, dict)][:_MOST]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
