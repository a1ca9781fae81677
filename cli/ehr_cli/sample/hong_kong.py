"""The fictional Hong Kong of the sample, read from hong_kong.toml; choices are hashes of a key.

Nothing here looks at a clock or a random source: the same Synthea line always becomes the same
Hong Kong record.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from ehr_fhir.jurisdiction import JURISDICTION

Item = TypeVar("Item")

SYSTEM = JURISDICTION.base
HKID = JURISDICTION.person_identifier.system
# We know of no card with this prefix, so that no number can be somebody's.
HKID_PREFIX = "ZQ"


@dataclass(frozen=True)
class Name:
    """A person's name, romanised and in Chinese characters."""

    family: str
    given: str
    family_zh: str
    given_zh: str

    @property
    def text(self) -> str:
        """Return the name as Hong Kong writes it: surname first, in capitals."""
        return f"{self.family.upper()} {self.given}"

    @property
    def text_zh(self) -> str:
        """Return the name in Chinese characters."""
        return self.family_zh + self.given_zh

    @property
    def both(self) -> str:
        """Return the name in both scripts, the Latin one first."""
        return f"{self.text} {self.text_zh}"

    def fhir(self) -> list[dict[str, Any]]:
        """Render both forms as FHIR HumanNames, the second marked ideographic."""
        return [
            {"use": "official", "text": self.text, "family": self.family, "given": [self.given]},
            {
                "extension": [
                    {
                        "url": "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation",
                        "valueCode": "IDE",
                    }
                ],
                "use": "official",
                "text": self.text_zh,
                "family": self.family_zh,
                "given": [self.given_zh],
            },
        ]


@cache
def read_setting() -> dict[str, Any]:
    """Read hong_kong.toml."""
    text = resources.files(__package__).joinpath("hong_kong.toml").read_text("utf-8")
    return tomllib.loads(text)


def pick(key: str, items: Sequence[Item]) -> Item:
    """Pick one item by a hash of the key.

    >>> pick("a", [1, 2, 3]) == pick("a", [1, 2, 3])
    True
    """
    return items[hash_number(key, len(items))]


def hash_number(key: str, below: int) -> int:
    """Return a number from 0 up to `below`, fixed by the key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % below


def invent_name(key: str, gender: str) -> Name:
    """Invent a name for a key."""
    names = read_setting()["names"]
    family, family_zh = pick(f"{key}|surname", names["surnames"])
    first, first_zh = pick(f"{key}|first", names["first"])
    last, last_zh = pick(f"{key}|last", names["female" if gender == "female" else "male"])
    return Name(family, f"{first} {last}", family_zh, first_zh + last_zh)


def invent_hkid(key: str) -> str:
    """Invent a Hong Kong identity card number with a right check digit."""
    body = f"{HKID_PREFIX}{hash_number(f'{key}|hkid', 1_000_000):06d}"
    identifier = JURISDICTION.person_identifier
    return identifier.format(f"{body}{identifier.check_digit(body)}")


def invent_address(key: str) -> dict[str, Any]:
    """Invent a home address in one of the 18 districts; Hong Kong has no postcodes."""
    lists = read_setting()["address"]
    flat = "ABCDEFGH"[hash_number(f"{key}|flat", 8)]
    floor, street_number = (
        1 + hash_number(f"{key}|floor", 38),
        1 + hash_number(f"{key}|street", 299),
    )
    home = f"Flat {flat}, {floor}/F, {pick(f'{key}|estate', lists['estates'])}"
    street = f"{street_number} {pick(f'{key}|road', lists['streets'])}"
    district = pick(f"{key}|district", read_setting()["district"])["name"]
    return {
        "use": "home",
        "line": [home, street],
        "district": district,
        "city": "Hong Kong",
        "country": JURISDICTION.country,
    }


def invent_phone(key: str) -> str:
    """Invent a mobile number."""
    return f"+852 5555 {hash_number(f'{key}|phone', 10_000):04d}"
