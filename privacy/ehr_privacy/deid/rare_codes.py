"""Rare codes: a code that few people have is shown as a broader one, or not at all.

Who has a code is counted by persons. A code that fewer have than the threshold moves up its
hierarchy together with the other rare ones below the same broader code, until so many people are
behind what is shown: not those who have a frequent code there, since a category beside its frequent
codes would tell that somebody has one of the others.

Hierarchies are those that a code's own form tells: ICD-10 and ICD-10-CM (category, chapter) and
ATC; and one that the caller has, such as SNOMED CT's. A code of any other system is left out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from types import MappingProxyType

__all__ = ["Coding", "generalize_rare_codes", "list_broader_codes"]

# System and code.
Coding = tuple[str, str]
# Code -> the next broader one of its system: a tree, each code has one way to the top.
Hierarchy = Mapping[Coding, str]
_NO_HIERARCHY: Hierarchy = MappingProxyType({})

_ICD = frozenset({"http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10-cm"})
_ATC = "http://www.whocc.no/atc"
_ICD_CODE = re.compile(r"([A-Z]\d[0-9A-Z])(\.[0-9A-Z]+)?", re.ASCII)
# The first category of each chapter, by WHO's numbers of them (ICD-10, version 2019).
_CHAPTERS = (
    ("A00", "I"),
    ("C00", "II"),
    ("D50", "III"),
    ("E00", "IV"),
    ("F00", "V"),
    ("G00", "VI"),
    ("H00", "VII"),
    ("H60", "VIII"),
    ("I00", "IX"),
    ("J00", "X"),
    ("K00", "XI"),
    ("L00", "XII"),
    ("M00", "XIII"),
    ("N00", "XIV"),
    ("O00", "XV"),
    ("P00", "XVI"),
    ("Q00", "XVII"),
    ("R00", "XVIII"),
    ("S00", "XIX"),
    ("U00", "XXII"),
    ("V00", "XX"),
    ("Z00", "XXI"),
)
# Substance, chemical subgroup, pharmacological subgroup, therapeutic subgroup, anatomical group.
_ATC_LENGTHS = (7, 5, 4, 3, 1)


def list_broader_codes(
    system: str, code: str, hierarchy: Hierarchy = _NO_HIERARCHY
) -> tuple[str, ...]:
    """Return the codes above a code in its system's hierarchy, the nearest first.

    >>> list_broader_codes("http://hl7.org/fhir/sid/icd-10", "E11.9")
    ('E11', 'IV')
    >>> list_broader_codes("http://www.whocc.no/atc", "A10BA02")
    ('A10BA', 'A10B', 'A10', 'A')
    >>> list_broader_codes("http://loinc.org", "8867-4")
    ()
    >>> sct = "http://snomed.info/sct"
    >>> list_broader_codes(sct, "44054006", {(sct, "44054006"): "73211009"})
    ('73211009',)
    """
    if (system, code) in hierarchy:
        broader = [hierarchy[system, code]]
        while (after := hierarchy.get((system, broader[-1]))) is not None and after not in broader:
            broader.append(after)
        return tuple(broader)
    if system in _ICD:
        match = _ICD_CODE.fullmatch(code)
        if match is None:
            return ()
        place = bisect_right(_CHAPTERS, match[1], key=lambda chapter: chapter[0])
        chapter = _CHAPTERS[place - 1][1]
        return (match[1], chapter) if match[2] else (chapter,)
    if system == _ATC:
        return tuple(code[:length] for length in _ATC_LENGTHS if length < len(code))
    return ()


def generalize_rare_codes(
    rare: Mapping[Coding, Collection[str]],
    threshold: int,
    hierarchy: Hierarchy = _NO_HIERARCHY,
) -> dict[Coding, str | None]:
    """Return rare code -> the broader code that is shown in its place; None where none is.

    `rare` has the persons of each code that fewer than `threshold` persons have. `hierarchy` adds
    to what the forms of codes tell.

    >>> icd = "http://hl7.org/fhir/sid/icd-10"
    >>> rare = {(icd, "E11.2"): {"a", "b"}, (icd, "E11.3"): {"c"}, (icd, "A15.0"): {"a"}}
    >>> generalize_rare_codes(rare, 3)
    {('http://hl7.org/fhir/sid/icd-10', 'E11.2'): 'E11', \
('http://hl7.org/fhir/sid/icd-10', 'E11.3'): 'E11', \
('http://hl7.org/fhir/sid/icd-10', 'A15.0'): None}
    """
    shown: dict[Coding, str | None] = dict.fromkeys(rare)
    # How many codes are above it, system, code -> the rare codes that may be shown as it.
    waiting: defaultdict[tuple[int, str, str], set[Coding]] = defaultdict(set)
    for coding in rare:
        waiting[len(list_broader_codes(*coding, hierarchy)), *coding].add(coding)
    # The deepest first, so that all that comes up to a code is there when it is judged.
    while waiting:
        level, system, code = max(waiting)
        group = waiting.pop((level, system, code))
        persons = set().union(*(rare[coding] for coding in group))
        if len(persons) >= threshold:
            shown.update(dict.fromkeys(group, code))
        elif broader := list_broader_codes(system, code, hierarchy):
            waiting[level - 1, system, broader[0]] |= group
    return shown
