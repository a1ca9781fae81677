"""Which sensitivity labels a record gets by its codes (DS4P), from the reviewed rules/labels.toml.

A label is a fact that consent is judged by, like the domain: it is stored beside the record, never
in it. A restriction or a limit of carers that selects by label holds for these labels as for those
of `meta.security`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from ehr_privacy.consent.code_systems import (
    NO_SYSTEM,
    has_shape_of,
    is_known_system,
    normalize_code,
    normalize_system,
)
from ehr_privacy.consent.labels import LABELS, parent_label

__all__ = ["LabelRules", "labels_by_code", "load_labels", "parse_labels"]

_NONE: frozenset[str] = frozenset()
_RANGE = re.compile(r"([A-Z]?)(\d+)-\1(\d+)")
_CATEGORY = 3
# Chosen: a store has some ten thousand codes in use; all of these take some ten megabytes.
_MOST_ANSWERS = 65_536


@dataclass(frozen=True)
class LabelRules:
    """The rules of one file, by system: whole codes, and beginnings of codes."""

    number: int
    digest: str
    codes: Mapping[str, Mapping[str, frozenset[str]]]
    beginnings: Mapping[str, Mapping[str, frozenset[str]]]

    # Labels by (system, code) as they were asked for.
    _answers: dict[tuple[object, str], frozenset[str]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def of(self, system: object, code: str) -> frozenset[str]:
        """Return the labels of one code, with those they are part of.

        A code of no system, or of one that is not known here, counts as any system's.
        """
        try:
            if (labels := self._answers.get((system, code))) is None:
                labels = self._find(normalize_system(system), code)
                if len(self._answers) >= _MOST_ANSWERS:
                    self._answers.clear()
                self._answers[system, code] = labels
        except TypeError:  # a system that is no string
            return self._find(NO_SYSTEM, code)
        return labels

    def _find(self, name: str, code: str) -> frozenset[str]:
        systems = {*self.codes, *self.beginnings}
        if name in systems:
            return self._find_in(name, code)
        if is_known_system(name):
            return _NONE
        return _NONE.union(*(self._find_in(one, code, of_other=True) for one in systems))

    def _find_in(self, name: str, code: str, *, of_other: bool = False) -> frozenset[str]:
        compared = normalize_code(code, name)
        if of_other and not has_shape_of(compared, name):
            return _NONE
        labels = self.codes.get(name, {}).get(compared, _NONE)
        beginnings = self.beginnings.get(name)
        if beginnings:
            for length in range(len(compared), _CATEGORY - 1, -1):
                if (found := beginnings.get(compared[:length])) is not None:
                    return labels | found
        return labels


@cache
def load_labels() -> LabelRules:
    """Read and validate the label rules that ship with the package."""
    rules = files("ehr_privacy").joinpath("rules")
    text = rules.joinpath("labels.toml").read_text(encoding="utf-8")
    # The labels of a record depend on these too: a store is labelled anew when they change.
    others = (rules.joinpath(f"{name}.toml") for name in ("systems", "security_labels"))
    digest = sha256(b"".join([text.encode(), *(file.read_bytes() for file in others)]))
    return replace(parse_labels(text), digest=digest.hexdigest()[:16])


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
        for name, spelling in systems.items():
            system = normalize_system(spelling)
            sets = rule.get(name, {})
            if not set(sets) <= {"codes", "categories", "never"}:
                raise ValueError(f"labels.toml: rule {number}: {name}: an unknown kind of set")
            for code in sets.get("codes", ()):
                of_system = codes.setdefault(system, {})
                compared = normalize_code(code, system)
                of_system[compared] = of_system.get(compared, _NONE) | given
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
        elif key == "code" and kind is str:
            found |= rules.of(node.get("system"), value)


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
