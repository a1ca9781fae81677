"""Family names of people, in Latin and Han characters, to find accesses within a family.

Latin family names stand in capitals ("CHAN Tai Man", "Tai Man CHAN") or in an element of their own;
Chinese ones are the first character, or two of a compound name. Nothing here is shown to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["family_names", "patient_family_names"]

_CAPITALS = re.compile(r"\b[A-Z][A-Z'-]+\b")
_HAN = re.compile(r"[\u3400-\u9fff]{2,}")
_COMPOUND = frozenset(
    {"歐陽", "司徒", "上官", "諸葛", "司馬", "東方", "皇甫", "尉遲", "公孫", "慕容", "夏侯", "令狐"}
)
# In capitals, and no names.
_TITLES = frozenset({"DR", "MR", "MRS", "MS", "PROF", "RN", "MBBS", "MD"})


def family_names(display: str) -> set[str]:
    """Return the family names that a written name may hold, folded.

    >>> sorted(family_names("Dr CHAN Tai Man 陳大文")), family_names("Tai Man")
    (['chan', '陳'], set())
    """
    latin = {word.casefold() for word in _CAPITALS.findall(display) if word not in _TITLES}
    han = {name[:2] if name[:2] in _COMPOUND else name[:1] for name in _HAN.findall(display)}
    return latin | han


def patient_family_names(patient: Mapping[str, Any]) -> set[str]:
    """Return the family names of a Patient."""
    return set(_iter_family_names(patient.get("name", ())))


def _iter_family_names(names: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for name in names:
        family = str(name.get("family", "")).strip()
        if family:
            yield family.casefold()
        yield from family_names(str(name.get("text", "")))
