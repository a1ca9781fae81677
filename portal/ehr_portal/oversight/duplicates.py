"""Records that may be one person's, and merges of two, as a steward reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts
from ehr_portal.i18n import N_

__all__ = [
    "Agreement",
    "DuplicatePair",
    "ListedPatient",
    "Merge",
    "parse_merges",
    "parse_pairs",
]

ELEMENT_TITLES = {
    "number": N_("Number of the identity document"),
    "characters": N_("Name in Chinese characters"),
    "letters": N_("Name in letters"),
    "reading": N_("Name in letters and in characters"),
    "birth-date": N_("Date of birth"),
    "gender": N_("Sex"),
    "telephone": N_("Telephone"),
    "name": N_("Name"),
    "birthDate": N_("Date of birth"),
}
LEVEL_TITLES = {
    "same": N_("The same"),
    "slip": N_("A slip of the pen apart"),
    "in-part": N_("The same in part"),
    "one-word": N_("One word is the same"),
    "same-year": N_("The same year"),
    "different": N_("Different"),
}
DIFFERENCE_TITLES = {
    "number": N_("The numbers of their identity documents differ."),
    "birth-date": N_("Their dates of birth differ."),
    "sex": N_("Their sexes differ."),
    "death": N_("One of the two is said to have died."),
}
# From so many bits something speaks strongly: 16 times as likely of one person, or of two. Chosen.
_STRONG = 4.0


@dataclass(frozen=True)
class ListedPatient:
    """One of the two: what a steward sees of it."""

    id: str
    name: str
    born: str
    gender: str
    is_active: bool


@dataclass(frozen=True)
class Agreement:
    """How one element agrees, and for what it speaks; the texts are still to translate."""

    title: str
    level: str
    verdict: str
    # Whether it speaks for one person.
    is_for: bool


@dataclass(frozen=True)
class DuplicatePair:
    """Two records that may be one person's."""

    first: ListedPatient
    second: ListedPatient
    # In percent, rounded down: it is never certain.
    percent: int
    is_proposed: bool
    agreements: tuple[Agreement, ...]
    display: str
    reason: str
    decided: str

    @property
    def key(self) -> str:
        """Both ids as one text."""
        return f"{self.first.id} {self.second.id}"


@dataclass(frozen=True)
class Merge:
    """A merge of two records, or its undoing: what waits, and what was decided."""

    id: str
    kind: str
    state: str
    source: ListedPatient
    target: ListedPatient
    display: str
    reason: str
    asked: str
    is_current: bool
    decided: str
    decided_display: str
    decision_reason: str
    # Texts to translate: in what the two contradict each other, and what changes or stayed.
    differences: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def parse_pairs(answer: Resource) -> list[DuplicatePair]:
    """Return the pairs of the answer of `$duplicates`."""
    return [
        DuplicatePair(
            first=_parse_patient(part, "first"),
            second=_parse_patient(part, "second"),
            percent=int(float(part.score or 0) * 100),
            is_proposed=part.proposed == "true",
            agreements=tuple(_build_agreement(field) for field in part.parse_parts("field")),
            display=part.display,
            reason=part.reason,
            decided=part.decided,
        )
        for part in parse_multi_parts(answer, "pair")
    ]


def parse_merges(answer: Resource) -> list[Merge]:
    """Return the merges of the answer of `$merges`."""
    return [
        Merge(
            id=part.id,
            kind=part.kind,
            state=part.state,
            source=_parse_patient(part, "source"),
            target=_parse_patient(part, "target"),
            display=part.display,
            reason=part.reason,
            asked=part.asked,
            is_current=part.current != "false",
            decided=part.decided,
            decided_display=part.decided_display,
            decision_reason=part.decision_reason,
            differences=_titles(part.values.get("difference", ()), DIFFERENCE_TITLES),
            changed=_titles((one.element for one in part.parse_parts("change")), ELEMENT_TITLES),
            kept=_titles(part.values.get("kept", ()), ELEMENT_TITLES),
        )
        for part in parse_multi_parts(answer, "merge")
    ]


def _titles(codes: Iterable[str], titles: dict[str, str]) -> tuple[str, ...]:
    return tuple(titles.get(code, code) for code in codes)


def _build_agreement(field: MultiPartParameter) -> Agreement:
    weight = float(field.weight or 0)
    if abs(weight) >= _STRONG:
        verdict = (
            N_("speaks strongly for one person") if weight > 0 else N_("speaks strongly for two")
        )
    else:
        verdict = N_("speaks for one person") if weight > 0 else N_("speaks for two")
    return Agreement(
        ELEMENT_TITLES.get(field.element, field.element),
        LEVEL_TITLES.get(field.level, field.level),
        verdict,
        weight > 0,
    )


def _parse_patient(part: MultiPartParameter, name: str) -> ListedPatient:
    values: dict[str, list[Any]] = {"patient": [], "name": [], "born": [], "gender": []}
    for found in part.parts:
        if found["name"] != name:
            continue
        for inner in found.get("part", ()):
            value = next((inner[key] for key in inner if key.startswith("value")), None)
            values.setdefault(inner["name"], []).append(value)
    references = [str(value["reference"]) for value in values["patient"]]
    return ListedPatient(
        id=next(iter(references), "").removeprefix("Patient/"),
        name=" · ".join(filter(None, map(_describe_name, values["name"]))),
        born=str(next(iter(values["born"]), "")),
        gender=str(next(iter(values["gender"]), "")),
        is_active=values.get("active", [True])[0] is not False,
    )


def _describe_name(name: Resource) -> str:
    """Return a HumanName as text, the surname first.

    >>> _describe_name({"family": "Chan", "given": ["Ka", "Ming"]})
    'Chan Ka Ming'
    """
    words = [name.get("family"), *name.get("given", ())]
    return str(name.get("text") or " ".join(str(word) for word in words if word))
