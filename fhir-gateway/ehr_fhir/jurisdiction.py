"""The place the platform is set up for: time zone, base address, person identifier, regions, law.

Read once from a TOML file: the one that `EHR_JURISDICTION` names (a file that ships with the
package, such as `hong-kong`, or a path), Hong Kong's by default. It holds facts of a place and no
rule of consent: those are in `ehr_privacy/rules`.
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ehr_fhir.errors import Invalid

__all__ = ["JURISDICTION", "Jurisdiction", "Language", "PersonIdentifier", "load_jurisdiction"]

_VARIABLE = "EHR_JURISDICTION"
_DEFAULT = "hong-kong"
# The script that a subtag means for Chinese: itself, or the one its region writes.
_SCRIPTS = {
    "hans": "hans", "cn": "hans", "sg": "hans", "my": "hans",
    "hant": "hant", "tw": "hant", "hk": "hant", "mo": "hant",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """A language of the pages: BCP 47 tag, locale of dates and numbers, names, catalogue."""

    tag: str
    locale: str
    name: str
    short: str
    catalogue: str


@dataclass(frozen=True)
class PersonIdentifier:
    """The number by which a person is named, and the weighted check that its last character passes.

    >>> hkid = load_jurisdiction("hong-kong").person_identifier
    >>> hkid.normalize("a123456 (3)"), hkid.is_valid("A123456(3)"), hkid.is_valid("A123456(4)")
    ('A1234563', True, False)
    """

    name: str
    system: str
    example: str
    written: str
    stored: str
    pattern: str
    weights: tuple[int, ...]
    modulus: int
    pad: int
    symbols: str

    def normalize(self, text: str) -> str:
        """Return a typed number as capitals and digits alone.

        A Chinese keyboard may type them at full width (compatibility forms, Unicode NFKC).

        >>> load_jurisdiction("hong-kong").person_identifier.normalize("ａ１２３４５６（３）")
        'A1234563'
        """
        return re.sub(r"[^A-Z0-9]", "", unicodedata.normalize("NFKC", text).upper())

    def format(self, text: str) -> str:
        """Return a typed number in the form in which records hold it.

        >>> load_jurisdiction("hong-kong").person_identifier.format("a123456 3")
        'A123456(3)'
        """
        number = self.normalize(text)
        return self.stored.format(body=number[:-1], check=number[-1:])

    def check_digit(self, body: str) -> str:
        """Return the check character of a number without one.

        >>> hkid = load_jurisdiction("hong-kong").person_identifier
        >>> [hkid.check_digit(body) for body in ("A123456", "AB987654", "G123456", "L555555")]
        ['3', '3', 'A', '0']
        """
        values = [int(character, 36) for character in body]
        padded = [self.pad] * (len(self.weights) - len(values)) + values
        total = sum(value * weight for value, weight in zip(padded, self.weights, strict=True))
        return self.symbols[-total % self.modulus]

    def is_valid(self, text: str) -> bool:
        """Say whether a number has the right form and check character."""
        number = self.normalize(text)
        if not re.fullmatch(self.pattern, number):
            return False
        return self.check_digit(number[:-1]) == number[-1]


@dataclass(frozen=True)
class TelephoneNumbers:
    """How telephone numbers of the place are written.

    >>> numbers = load_jurisdiction("hong-kong").telephone
    >>> numbers.normalize("+852 5555-0001"), numbers.write_forms("55550001")[:2]
    ('55550001', ['+852 5555 0001', '+85255550001'])
    """

    country_code: str
    digits: int
    written: tuple[str, ...]

    def normalize(self, text: str) -> str:
        """Return a written number as digits, without the code of this country."""
        digits = re.sub(r"\D", "", unicodedata.normalize("NFKC", text))
        if len(digits) == self.digits + len(self.country_code):
            return digits.removeprefix(self.country_code)
        return digits

    def write_forms(self, number: str) -> list[str]:
        """Return the ways in which records write a number; itself if it is not of the place."""
        if len(number) != self.digits:
            return [number, f"+{number}"]
        return [re.sub("N", partial(_next_digit, iter(number)), form) for form in self.written]


def _next_digit(digits: Iterator[str], _: re.Match[str]) -> str:
    return next(digits)


@dataclass(frozen=True)
class Jurisdiction:
    """Facts of one place."""

    name: str
    country: str
    time_zone: str
    base: str
    languages: tuple[Language, ...]
    person_identifier: PersonIdentifier
    telephone: TelephoneNumbers
    # From this day joining alone lets every registered organisation deposit.
    deposit_by_joining_since: date
    # District, in each script it is written in -> region.
    regions: Mapping[str, str]

    @property
    def default_language(self) -> Language:
        """Return the language for readers who ask for none of ours."""
        return self.languages[0]

    @cached_property
    def zone(self) -> ZoneInfo:
        """Return the time zone whose days and history FHIR dates are read by."""
        return ZoneInfo(self.time_zone)

    def match_language(self, tag: str) -> Language | None:
        """Return the language of the pages for a BCP 47 tag a reader asks for, None without one.

        A script decides before a region; bare Chinese is read as simplified (CLDR's likely
        subtags).

        >>> place = load_jurisdiction("hong-kong")
        >>> [place.match_language(tag).tag for tag in ("zh-TW", "zh_CN", "zh", "en-GB")]
        ['zh-Hant-HK', 'zh-Hans', 'zh-Hans', 'en']
        >>> place.match_language("fr") is None
        True
        """
        primary, *subtags = tag.lower().replace("_", "-").split("-")
        same = [
            language for language in self.languages if language.tag.lower().split("-")[0] == primary
        ]
        script = next((_SCRIPTS[subtag] for subtag in subtags if subtag in _SCRIPTS), "hans")
        scripted = [language for language in same if script in language.tag.lower().split("-")]
        return next(iter(scripted or same), None)

    @cached_property
    def districts(self) -> Mapping[str, str]:
        """Return for each script that a district is written in its first name, in Latin letters.

        The file lists the scripts of a district after one another, the Latin one first.

        >>> place = load_jurisdiction("hong-kong")
        >>> place.districts["灣仔"], len(set(place.districts.values()))
        ('Wan Chai', 18)
        """
        first, named = "", {}
        for name in self.regions:
            first = name if name.isascii() else first or name
            named[name] = first
        return named

    @property
    def fhir_base(self) -> str:
        """Return the address below which our code systems, profiles and extensions lie."""
        return f"{self.base}/fhir"


@cache
def load_jurisdiction(name: str) -> Jurisdiction:
    """Read a jurisdiction that ships with the package by its name, or a file by its path.

    Raises Invalid when there is no such file or a fact is missing or malformed.
    """
    shipped = files("ehr_fhir").joinpath("jurisdictions", f"{name}.toml")
    path = shipped if "/" not in name and shipped.is_file() else Path(name)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError:
        raise Invalid(f"{_VARIABLE}: there is no jurisdiction {name}.") from None
    except ValueError as error:
        raise Invalid(f"{_VARIABLE}: {name} is no TOML file: {error}") from None
    try:
        return _jurisdiction(data)
    except KeyError as error:
        raise Invalid(f"{_VARIABLE}: {name} lacks {error.args[0]}.") from None
    except (TypeError, ValueError, ZoneInfoNotFoundError) as error:
        raise Invalid(f"{_VARIABLE}: {name}: {error}") from None


def _jurisdiction(data: Mapping[str, Any]) -> Jurisdiction:
    identifier = data["person_identifier"]
    jurisdiction = Jurisdiction(
        name=data["name"],
        country=data["country"],
        time_zone=data["time_zone"],
        base=data["base"].rstrip("/"),
        languages=tuple(Language(**language) for language in data["languages"]),
        person_identifier=PersonIdentifier(
            **{**identifier, "weights": tuple(identifier["weights"])},
        ),
        telephone=TelephoneNumbers(
            **{**data["telephone"], "written": tuple(data["telephone"]["written"])}
        ),
        deposit_by_joining_since=data["law"]["deposit_by_joining_since"],
        regions={
            district: region
            for region, districts in data["regions"].items()
            for district in districts
        },
    )
    re.compile(jurisdiction.person_identifier.pattern)
    _ = jurisdiction.zone
    return jurisdiction


JURISDICTION = load_jurisdiction(os.environ.get(_VARIABLE) or _DEFAULT)
