"""The searches that find who may be the person of an identity.

Each asks for one thing that two records of one person rarely both have wrong: a number, a
telephone, the birth date, or the name within three years of birth.
"""

from __future__ import annotations

from collections.abc import Iterator

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.patient_matching.identity import Identity

__all__ = ["build_searches"]

_WHOLE_DATE = len("YYYY-MM-DD")
Criteria = list[tuple[str, str]]


def build_searches(identity: Identity) -> Iterator[Criteria]:
    """Yield the criteria of each search for Patients.

    >>> from ehr_gateway.patient_matching.identity import read_identity
    >>> patient = {"birthDate": "1950-03-04", "name": [{"family": "Chan", "given": ["Tai Man"]}]}
    >>> for criteria in build_searches(read_identity(patient)):
    ...     print(criteria)
    [('birthdate', '1950-03-04,1950-04-03')]
    [('name', 'tai'), ('name', 'chan'), ('birthdate', 'ge1949'), ('birthdate', 'le1951')]
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
    within = []
    if born[:4].isdigit():
        year = int(born[:4])
        within = [("birthdate", f"ge{year - 1}"), ("birthdate", f"le{year + 1}")]
    for words in sorted(identity.words):
        # The longest words say most; a name that is one word is a surname, or something as common.
        if len(words) > 1:
            yield [*(("name", word) for word in sorted(sorted(words), key=len)[-2:]), *within]
    for characters in sorted(identity.characters):
        if len(characters) > 1:
            yield [("name", characters[0]), ("name", characters[1:]), *within]


def _exchange(date: str) -> list[str]:
    """Return a date with day and month exchanged, if there is such a date."""
    return [f"{date[:4]}{date[7:]}{date[4:7]}"] if date[8:] <= "12" else []
