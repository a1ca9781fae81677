"""Code systems and codes as rules compare them, whatever their spelling (rules/systems.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

__all__ = [
    "NO_SYSTEM",
    "has_shape_of",
    "is_known_system",
    "load_systems",
    "normalize_code",
    "normalize_system",
]

# The name of a coding's system where none is given.
NO_SYSTEM = ""
# What the name of a system begins with that is not known here.
_UNKNOWN = "?"
_BEGINNINGS = re.compile(r"^(?:https?://|urn:oid:|oid:)?(?:www\.)?")
# Dagger, asterisk and the German marks of certainty and side stand behind an ICD code.
_ICD_MARKS = re.compile(r"[\s†‡*+!#].*")
_SHAPES = {
    "icd-10": re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z-]*)"),
    "icd-9": re.compile(r"([0-9]{3}|V[0-9]{2}|E[0-9]{3})\.?([0-9]*)"),
}


@dataclass(frozen=True)
class CodeSystems:
    """The reviewed data of rules/systems.toml."""

    prefixes: Mapping[str, str]
    # Spelling -> name; each name is a spelling of itself.
    names: Mapping[str, str]
    # The shape of a system's codes, for ICD's: what stands before the dot, and behind it.
    shapes: Mapping[str, re.Pattern[str]]


@cache
def load_systems() -> CodeSystems:
    """Read the spellings of code systems that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/systems.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    names = {name: name for name in data["systems"]}
    for name, spellings in data["systems"].items():
        for spelling in spellings:
            if names.setdefault(spelling, name) != name:
                raise ValueError(f"systems.toml: {spelling} is a spelling of two systems")
    shapes = {name: _SHAPES[kind] for kind, some in data["codes"].items() for name in some}
    return CodeSystems(data["prefixes"], names, shapes)


# A resource names few systems, and each write asks for all of them.
@lru_cache(maxsize=4096)
def normalize_system(system: object) -> str:
    """Return the name of a code system; for an unknown one, its spelling after a question mark.

    >>> normalize_system("urn:oid:2.16.840.1.113883.6.1"), normalize_system("https://loinc.org/")
    ('loinc', 'loinc')
    >>> normalize_system("http://hl7.org/fhir/v2/0074"), normalize_system("HL70074")
    ('v2-0074', 'v2-0074')
    >>> normalize_system("http://hl7.org/fhir/sid/icd-10-cm|2024"), normalize_system(None)
    ('icd-10-cm', '')
    >>> normalize_system("https://hospital.example/codes/")
    '?hospital.example/codes'
    """
    if not isinstance(system, str):
        return NO_SYSTEM
    systems = load_systems()
    spelling = _BEGINNINGS.sub("", system.strip().partition("|")[0].strip().casefold()).rstrip("/")
    if name := systems.names.get(spelling):
        return name
    for length in range(len(spelling), 0, -1):
        if (stands_for := systems.prefixes.get(spelling[:length])) is not None:
            short = f"{stands_for}{spelling[length:]}"
            if stands_for == "v2-":
                if not short[3:].isdecimal():
                    continue
                short = f"v2-{short[3:].zfill(4)}"
            # A system may go on with a module or a version of its own, as SNOMED CT does.
            return systems.names.get(short) or systems.names.get(short.partition("/")[0], short)
    return f"{_UNKNOWN}{spelling}" if spelling else NO_SYSTEM


def is_known_system(name: str) -> bool:
    """Say whether a name is that of a system known here, so that its codes mean nothing else."""
    return name != NO_SYSTEM and not name.startswith(_UNKNOWN)


def has_shape_of(code: str, system: str) -> bool:
    """Say whether a normalized code can be one of a system whose codes have a known shape."""
    shape = load_systems().shapes.get(system)
    return shape is None or bool(shape.fullmatch(code))


def normalize_code(code: str, system: str = NO_SYSTEM) -> str:
    """Return a code of a system as rules compare it.

    >>> normalize_code(" laboratory "), normalize_code("f1120", "icd-10-cm")
    ('LABORATORY', 'F11.20')
    >>> normalize_code("B24†", "icd-10"), normalize_code("e9670", "icd-9-cm")
    ('B24', 'E967.0')
    """
    compared = code.strip().upper()
    shape = load_systems().shapes.get(system)
    if shape is None:
        return compared
    compared = _ICD_MARKS.sub("", compared)
    match = shape.fullmatch(compared)
    if match is None:
        return compared
    return f"{match[1]}.{match[2]}" if match[2] else match[1]
