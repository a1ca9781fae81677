"""What a merge of two Patients changes in them, and what takes it back (FHIR R5: Patient-merge).

Pure: it takes Patients and returns Patients. References stay as they are: the accounts are linked,
each record stays where it was written, and the merge can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import local_target

__all__ = [
    "Difference",
    "changed_elements",
    "has_same_links",
    "is_dead",
    "list_differences",
    "merge_source",
    "merge_target",
    "unmerge_source",
    "unmerge_target",
]

Json = Mapping[str, Any]
LinkType = Literal["replaced-by", "replaces"]
Difference = Literal["number", "birth-date", "sex", "death"]
_DEATH = ("deceasedBoolean", "deceasedDateTime")
# Elements that a new version gets from the store, or that a merge itself sets.
_OF_THE_VERSION = frozenset({"id", "link", "meta", "resourceType"})


def has_same_links(one: Json, other: Json) -> bool:
    """Say whether two Patients link to the same others in the same way, in whatever order."""
    first, second = (
        sorted((str(link.get("type")), _linked_patient(link)) for link in _links(patient))
        for patient in (one, other)
    )
    return first == second


def changed_elements(before: Json, after: Json) -> dict[str, tuple[object, object]]:
    """Return element -> what two versions of a Patient say, of those that differ.

    >>> changed_elements({"gender": "male", "id": "a"}, {"language": "en", "id": "a"})
    {'gender': ('male', None), 'language': (None, 'en')}
    """
    names = sorted({*before, *after} - _OF_THE_VERSION)
    values = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def is_dead(patient: Json) -> bool:
    """Say whether a Patient is said to have died."""
    return "deceasedDateTime" in patient or patient.get("deceasedBoolean") is True


def list_differences(source: Json, target: Json) -> list[Difference]:
    """Return in what two Patients contradict each other, for those who decide.

    >>> list_differences({"gender": "male", "birthDate": "1950"}, {"gender": "female"})
    ['sex']
    """
    found: list[Difference] = []
    numbers = [_numbers(source), _numbers(target)]
    if all(numbers) and numbers[0].isdisjoint(numbers[1]):
        found.append("number")
    elements: tuple[tuple[Difference, str], ...] = (("birth-date", "birthDate"), ("sex", "gender"))
    for name, element in elements:
        values = {source.get(element), target.get(element)} - {None, "unknown"}
        if len(values) > 1:
            found.append(name)
    if is_dead(source) != is_dead(target):
        found.append("death")
    return found


def merge_source(source: Json, target: str) -> dict[str, Any]:
    """Return the next version of the Patient that is replaced.

    >>> merged = merge_source({"id": "a"}, "b")
    >>> merged["active"], merged["link"]
    (False, [{'other': {'reference': 'Patient/b'}, 'type': 'replaced-by'}])
    """
    return {**source, "active": False, "link": [*_links(source), _link("replaced-by", target)]}


def merge_target(target: Json, source: str, result: Json | None = None) -> dict[str, Any]:
    """Return the next version of the Patient that stays: `result`, if that is said.

    The `meta` stays: labels of sensitivity stand in it.
    """
    merged = dict(target if result is None else result)
    if "meta" in target:
        merged["meta"] = target["meta"]
    else:
        merged.pop("meta", None)
    if not any(
        link.get("type") == "replaces" and _linked_patient(link) == source
        for link in _links(merged)
    ):
        merged["link"] = [*_links(merged), _link("replaces", source)]
    return merged


def unmerge_source(now: Json, before: Json, target: str) -> dict[str, Any]:
    """Return the next version of the Patient that was replaced: `active` is as it was before."""
    apart = _without_link(now, "replaced-by", target)
    # Where somebody has set it since, that stays.
    if now.get("active") is False:
        apart.pop("active", None)
        apart |= {"active": before["active"]} if "active" in before else {}
    return apart


@dataclass(frozen=True)
class Unmerged:
    """The next version of the Patient that stayed, and elements that were changed since."""

    resource: dict[str, Any]
    kept: tuple[str, ...]


def unmerge_target(now: Json, before: Json, after: Json, source: str) -> Unmerged:
    """Return the next version of the Patient that stayed, as far as nobody has changed it since.

    `before` and `after` are its versions around the merge. An element that the merge changed is
    again what it was, unless it was changed since: that stays, and is named.

    >>> before, after = {"gender": "male"}, {"gender": "female", "birthDate": "1950"}
    >>> unmerge_target({"gender": "female", "birthDate": "1951"}, before, after, "a")
    Unmerged(resource={'birthDate': '1951', 'gender': 'male'}, kept=('birthDate',))
    """
    apart, kept = _without_link(now, "replaces", source), []
    for name in changed_elements(before, after):
        if now.get(name) != after.get(name):
            kept.append(name)
            continue
        apart.pop(name, None)
        apart |= {name: before[name]} if name in before else {}
    return Unmerged(apart, tuple(kept))


def _without_link(patient: Json, kind: LinkType, other: str) -> dict[str, Any]:
    links = [
        link
        for link in _links(patient)
        if link.get("type") != kind or _linked_patient(link) != other
    ]
    apart = {name: value for name, value in patient.items() if name != "link"}
    return {**apart, "link": links} if links else apart


def _link(kind: LinkType, other: str) -> dict[str, Any]:
    return {"other": {"reference": f"Patient/{other}"}, "type": kind}


def _links(patient: Json) -> list[dict[str, Any]]:
    return list(patient.get("link", ()))


def _linked_patient(link: Json) -> str:
    target = local_target(str(link.get("other", {}).get("reference", "")))
    return target.id if target is not None and target.type == "Patient" else ""


def _numbers(patient: Json) -> set[str]:
    document = JURISDICTION.person_identifier
    return {
        document.normalize(str(identifier["value"]))
        for identifier in patient.get("identifier", ())
        if identifier.get("system") == document.system
        and identifier.get("use") != "old"
        and "value" in identifier
    }
