"""The searches that find who may be the person of an identity.

Each asks for one thing that two records of one person rarely both have wrong: a number, a
telephone, the birth date. Whose number has a slip is found by the name within three years of birth;
without a number a name says too little to be told by itself (a test holds the weights against it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.patient_matching.identity import Identity
from ehr_gateway.search.stored_library import escape_search_value

__all__ = ["build_searches"]

# Words of a name that are sought. Chosen: an English name, a surname and two given names.
_MOST_WORDS = 4
# Letters of a word that are sought, since given names are written as one word or as two. Chosen.
_BEGINNING = 3
_WHOLE_DATE = len("YYYY-MM-DD")
Criteria = list[tuple[str, str]]


def build_searches(identity: Identity) -> Iterator[Criteria]:
    """Yield the criteria of each search for Patients.

    >>> from ehr_gateway.patient_matching.identity import read_identity
    >>> from ehr_fhir.jurisdiction import JURISDICTION
    >>> number = {"system": JURISDICTION.person_identifier.system, "value": "A123456(3)"}
    >>> patient = {"birthDate": "1950-03-04", "name": [{"family": "Chan", "given": ["Tai Man"]}]}
    >>> list(build_searches(read_identity(patient)))
    [[('birthdate', '1950-03-04,1950-04-03')]]
    >>> _, _, *by_name = build_searches(read_identity({**patient, "identifier": [number]}))
    >>> for criteria in by_name:
    ...     print(criteria)
    [('name', 'cha'), ('name', 'tai'), ('birthdate', 'ge1949'), ('birthdate', 'le1951')]
    [('name', 'tai'), ('name', 'man'), ('birthdate', 'ge1949'), ('birthdate', 'le1951')]
    [('name', 'cha'), ('name', 'man'), ('birthdate', 'ge1949'), ('birthdate', 'le1951')]
    [('name', 'chan tai,chantai,tai man,taiman'), ('birthdate', 'ge1949'), ('birthdate', 'le1951')]
    """
    document = JURISDICTION.person_identifier
    for number in sorted(identity.numbers):
        yield [
            (
                "identifier",
                f"{document.system}|{number},{document.system}|{document.format(number)}",
            )
        ]
    if identity.telephones:
        forms = [
            form
            for number in sorted(identity.telephones)
            for form in JURISDICTION.telephone.write_forms(number)
        ]
        yield [("phone", ",".join(forms))]
    born = identity.birth_date
    if len(born) == _WHOLE_DATE:
        yield [("birthdate", ",".join(dict.fromkeys((born, *_exchange(born)))))]
    if not identity.numbers:
        return
    within = []
    if born[:4].isdigit():
        year = int(born[:4])
        # Dates that stand for an unknown one are at the ends of the calendar.
        first, last = max(year - 1, date.min.year), min(year + 1, date.max.year)
        within = [("birthdate", f"ge{first:04}"), ("birthdate", f"le{last:04}")]
    # A search for a name compares with the beginning of each of its parts, or of it as a whole.
    for words in sorted(identity.words):
        pairs = _pair_words(words[:_MOST_WORDS])
        for one, other in pairs:
            yield [*_names(one[:_BEGINNING], other[:_BEGINNING]), *within]
        joined = [
            form for one, other in pairs[:-1] or pairs for form in (f"{one} {other}", one + other)
        ]
        if joined:
            yield [("name", ",".join(map(escape_search_value, joined))), *within]
    for characters in sorted(identity.characters):
        if len(characters) > 1:
            yield [("name", characters[0]), ("name", characters[1:]), *within]
            yield [("name", characters), *within]


def _names(*beginnings: str) -> Criteria:
    """Return a criterion for each beginning of a name: separators of a search may stand in it."""
    return [("name", escape_search_value(beginning)) for beginning in beginnings]


def _pair_words(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return neighbours among the words of a name, and its ends, one of which is a surname.

    >>> _pair_words(["chan", "siu", "ming"]), _pair_words(["chan"])
    ([('chan', 'siu'), ('siu', 'ming'), ('chan', 'ming')], [])
    """
    pairs = list(pairwise(words))
    return [*pairs, (words[0], words[-1])] if len(words) > 2 else pairs


def _exchange(born: str) -> list[str]:
    """Return a date with day and month exchanged, if there is such a date."""
    return [f"{born[:4]}{born[7:]}{born[4:7]}"] if born[8:] <= "12" else []
