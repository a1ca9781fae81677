"""Which sensitivity labels a record gets by its codes (DS4P), from the reviewed rules/labels.toml.

A label is a fact that consent is judged by, like the domain: it is stored beside the record, never
in it. A restriction or a limit of carers that selects by label holds for these labels as for those
of `meta.security`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from ehr_privacy.consent.labels import LABELS, parent_label

__all__ = ["LabelRules", "labels_by_code", "load_labels", "parse_labels"]

_NONE: frozenset[str] = frozenset()
_RANGE = re.compile(r"([A-Z]?)(\d+)-\1(\d+)")
_CATEGORY = 3


@dataclass(frozen=True)
class LabelRules:
    """The rules of one file, by system: whole codes, and beginnings of codes."""

    number: int
    digest: str
    codes: Mapping[str, Mapping[str, frozenset[str]]]
    beginnings: Mapping[str, Mapping[str, frozenset[str]]]

    def of(self, system: str, code: str) -> frozenset[str]:
        """Return the labels of one code, with those they are part of."""
        found = self.codes.get(system, {}).get(code, _NONE)
        beginnings = self.beginnings.get(system)
        if beginnings:
            for length in range(len(code), _CATEGORY - 1, -1):
                if (labels := beginnings.get(code[:length])) is not None:
                    return found | labels
        return found


@cache
def load_labels() -> LabelRules:
    """Read and validate the label rules that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/labels.toml").read_text(encoding="utf-8")
    return parse_labels(text)


def parse_labels(text: str) -> LabelRules:
    """Parse label rules; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    systems = data["systems"]
    codes: dict[str, dict[str, frozenset[str]]] = {}
    beginnings: dict[str, dict[str, frozenset[str]]] = {}
    for number, rule in enumerate(data["rules"], 1):
        label = rule["label"]
        if label not in LABELS or not set(rule) <= {"label", "basis", *systems}:
            raise ValueError(f"labels.toml: rule {number}: an unknown label or system")
        given = {label, parent_label(label)}
        for name, system in systems.items():
            sets = rule.get(name, {})
            if not set(sets) <= {"codes", "categories", "never"}:
                raise ValueError(f"labels.toml: rule {number}: {name}: an unknown kind of set")
            for code in sets.get("codes", ()):
                of_system = codes.setdefault(system, {})
                of_system[code] = of_system.get(code, _NONE) | given
            for category in sets.get("categories", ()):
                for beginning in _expanded(category):
                    of_system = beginnings.setdefault(system, {})
                    of_system[beginning] = of_system.get(beginning, _NONE) | given
            for category in sets.get("never", ()):
                beginnings.setdefault(system, {}).setdefault(category, _NONE)
    digest = sha256(text.encode()).hexdigest()[:16]
    return LabelRules(data["number"], digest, codes, beginnings)


def labels_by_code(resource: Mapping[str, Any], rules: LabelRules | None = None) -> frozenset[str]:
    """Return the labels of all codes in a resource, by the shipped rules unless others are given.

    >>> icd = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F11.20"}
    >>> sorted(labels_by_code({"resourceType": "Condition", "code": {"coding": [icd]}}))
    ['ETH', 'OPIOIDUD']
    """
    found: set[str] = set()
    _gather(resource, rules or load_labels(), found)
    return frozenset(found)


# Of every resource that is written: by exact types, which JSON has, and no call for a plain value.
def _gather(node: Mapping[str, Any], rules: LabelRules, found: set[str]) -> None:
    for key, value in node.items():
        kind = type(value)
        if kind is dict:
            _gather(value, rules, found)
        elif kind is list:
            for item in value:
                if type(item) is dict:
                    _gather(item, rules, found)
        elif key == "system" and (value in rules.codes or value in rules.beginnings):
            code = node.get("code")
            if isinstance(code, str):
                found |= rules.of(value, code)


def _expanded(category: str) -> Iterator[str]:
    """Yield the categories of a range.

    >>> list(_expanded("F09-F11")), list(_expanded("O98.7"))
    (['F09', 'F10', 'F11'], ['O98.7'])
    """
    match = _RANGE.fullmatch(category)
    if match is None:
        yield category
        return
    letter, first, last = match[1], match[2], match[3]
    for number in range(int(first), int(last) + 1):
        yield f"{letter}{number:0{len(first)}}"
