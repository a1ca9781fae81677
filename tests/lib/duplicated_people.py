"""Made-up Patients of whom some have a second record, written as another counter would write it.

Beside them twins (one surname, birth date and telephone) and families (one surname and telephone):
people who look like one person and are not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pypinyin

from ehr_cli.sample.hong_kong import HKID, read_setting
from ehr_fhir.jurisdiction import JURISDICTION

Patient = dict[str, Any]
_FIRST_DAY = date(1930, 1, 1)
_ENGLISH = ("Peter", "Mary", "Jason", "Winnie", "Kelvin", "Grace", "Tony", "Carmen")


def make_people(count: int, seed: int = 1) -> Iterator[tuple[int, Patient]]:
    """Yield Patients with the number of the person each is about; one in ten is a second record."""
    chance = random.Random(seed)
    persons = count * 10 // 11
    person = 0
    while person < persons:
        first = _make_person(chance)
        group = [first]
        if chance.random() < 0.01:
            group.append(_make_relative(chance, first, is_twin=chance.random() < 0.3))
        for patient in group:
            names = patient["name"][: 1 if chance.random() < 0.2 else 2]
            yield person, {**patient, "name": names}
            if chance.random() < 0.1:
                yield person, _write_again(chance, patient)
            person += 1


def _make_person(chance: random.Random) -> Patient:
    gender = chance.choice(("female", "male"))
    born = _FIRST_DAY + timedelta(days=chance.randrange(90 * 365))
    patient: Patient = {
        "resourceType": "Patient",
        "name": _make_name(chance, gender),
        "gender": gender,
        "birthDate": born.isoformat(),
        "telecom": [{"system": "phone", "value": f"+852 {_make_telephone(chance)}"}],
    }
    if chance.random() < 0.95:
        patient["identifier"] = [_make_number(chance)]
    return patient


def _make_name(
    chance: random.Random, gender: str, surname: tuple[str, str] | None = None
) -> list[Any]:
    names = read_setting()["names"]
    family, family_zh = surname or chance.choice(names["surnames"])
    first, first_zh = chance.choice(names["first"])
    last, last_zh = chance.choice(names[gender])
    return [
        {"family": family, "given": [f"{first} {last}"]},
        {"family": family_zh, "given": [first_zh + last_zh]},
    ]


def _make_telephone(chance: random.Random) -> str:
    number = f"{chance.choice('5679')}{chance.randrange(10**7):07d}"
    return f"{number[:4]} {number[4:]}"


def _make_number(chance: random.Random) -> dict[str, str]:
    document = JURISDICTION.person_identifier
    body = f"Z{chance.choice('ABCDEFGH')}{chance.randrange(10**6):06d}"
    return {"system": HKID, "value": document.format(body + document.check_digit(body))}


def _make_relative(chance: random.Random, first: Patient, *, is_twin: bool) -> Patient:
    other = _make_person(chance)
    surnames = read_setting()["names"]["surnames"]
    surname = next(pair for pair in surnames if pair[0] == first["name"][0]["family"])
    other["name"] = _make_name(chance, other["gender"], surname)
    other["telecom"] = first["telecom"]
    if is_twin:
        other["birthDate"] = first["birthDate"]
    return other


def _write_again(chance: random.Random, patient: Patient) -> Patient:
    """Return the second record of a person, with what counters leave out, turn and mistype."""
    again = {**patient, "name": _write_name(chance, patient["name"])}
    if "identifier" in again:
        lot = chance.random()
        if lot < 0.25:
            del again["identifier"]
        elif lot < 0.28:
            number = patient["identifier"][0]["value"]
            again["identifier"] = [{"system": HKID, "value": _slip_digit(chance, number)}]
    born, lot = patient["birthDate"], chance.random()
    if lot < 0.015 and born[8:] <= "12":
        again["birthDate"] = born[:4] + born[7:] + born[4:7]
    elif lot < 0.03:
        again["birthDate"] = _slip_digit(chance, born[:8]) + f"{chance.randrange(1, 29):02d}"
    elif lot < 0.04:
        again["birthDate"] = born[:4]
    elif lot < 0.05:
        again["birthDate"] = f"{born[:4]}-01-01"
    lot = chance.random()
    if lot < 0.2:
        del again["telecom"]
    elif lot < 0.6:
        again["telecom"] = [{"system": "phone", "value": _make_telephone(chance)}]
    if chance.random() < 0.02:
        again["gender"] = chance.choice(("female", "male", "unknown"))
    return again


def _write_name(chance: random.Random, names: list[Any]) -> list[Any]:
    letters, characters = names
    family, given = letters["family"], letters["given"][0].split()
    lot = chance.random()
    if lot < 0.15:
        return [characters]
    if lot < 0.25:
        syllables = [part[0] for part in pypinyin.pinyin(
            characters["family"] + characters["given"][0], style=pypinyin.Style.NORMAL
        )]  # fmt: skip
        family, given = syllables[0], syllables[1:]
    style = chance.randrange(4)
    written = "-".join(given) if style == 0 else "".join(given) if style == 1 else " ".join(given)
    if chance.random() < 0.2:
        written = f"{chance.choice(_ENGLISH)} {written}"
    if chance.random() < 0.03:
        place = chance.randrange(len(written))
        written = written[:place] + chance.choice("aeiou") + written[place + 1 :]
    if chance.random() < 0.01:
        family = chance.choice(read_setting()["names"]["surnames"])[0]
    name = {"text": f"{written} {family}"} if style == 3 else {"family": family, "given": [written]}
    return [name, characters] if chance.random() < 0.4 else [name]


def _slip_digit(chance: random.Random, text: str) -> str:
    """Return a text with one of its digits another one."""
    place = chance.choice([place for place, letter in enumerate(text) if letter.isdigit()])
    return text[:place] + chance.choice("0123456789".replace(text[place], "")) + text[place + 1 :]
