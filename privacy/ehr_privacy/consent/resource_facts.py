"""The facts of a resource by which consent decides: domain, labels, patients, date, episode.

A resource that holds others (contained, or a Bundle or Parameters stored as data) has their
patients, labels and domains too, so that a copy is never easier to see than the record it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.dates import local_day
from ehr_privacy.consent.container_patients import (
    CONTAINERS,
    SUBJECTS,
    patients_of_container,
)
from ehr_privacy.consent.domain_rules import DomainRules, domain_of, load_domains
from ehr_privacy.consent.label_rules import LabelRules, labels_by_code
from ehr_privacy.consent.labels import labels_of_codings
from ehr_privacy.consent.model import Record

Json = Mapping[str, Any]  # JSON of every shape

# Where a resource kept as data holds others.
_HOLDING = {"Bundle": "entry", "Parameters": "parameter"}
# Who is said to have made what a record tells.
_AUTHORS = (
    "author", "recorder", "asserter", "performer", "requester", "resultsInterpreter", "participant",
)  # fmt: skip


def record_facts(
    resource: Json, author: str | None, label_rules: LabelRules | None = None
) -> Record:
    """Return the facts of one version of a resource by which the consent rules decide.

    Labels are by the rules that ship with the package unless others are given.

    >>> record_facts({"resourceType": "Condition", "id": "c1",
    ...               "subject": {"reference": "Patient/p1"}}, "ha-harbour").domain
    'diagnosis'
    """
    rules = load_domains()
    kind = str(resource["resourceType"])
    is_container = kind in CONTAINERS
    patients = patients_of_container(resource) if is_container else frozenset[str]()
    labels: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    domain, day, episode = domain_of(resource), _clinical_date(resource, rules), _episode(resource)
    inner_domains: set[str] = set()
    for held in _with_inner(resource):
        # A contained Patient has an id within its holder alone: whose record it is stays unknown.
        is_stored = held is resource or held["resourceType"] != "Patient"
        if is_stored and not is_container:
            patients |= patient_ids_of(held) | _named_patients(held)
        labels |= _labels(held)
        people |= _author_people(held)
        if held is not resource and held["resourceType"] not in rules.directory:
            inner_domains.add(domain_of(held))
            episode = episode or _episode(held)
            # Days that differ are no day: then every period that is closed closes it.
            day = day if _clinical_date(held, rules) in (None, day) else None
    directory = kind in rules.directory and not patients
    return Record(
        type=kind,
        id=str(resource.get("id", "")),
        patients=patients,
        domain=domain,
        labels=labels if directory else labels | labels_by_code(resource, label_rules),
        author=author,
        clinical_date=day,
        episode=episode,
        directory=directory,
        inner_domains=frozenset(inner_domains - {domain}),
        author_people=people,
    )


def _with_inner(resource: Json) -> Iterator[Json]:
    yield resource
    for inner in _objects(resource.get("contained")):
        if "resourceType" in inner:
            yield from _with_inner(inner)
    if name := _HOLDING.get(str(resource["resourceType"])):
        yield from _entries(resource, name)


def _entries(holder: Json, name: str) -> Iterator[Json]:
    for entry in _objects(holder.get(name)):
        held = entry.get("resource")
        if isinstance(held, Mapping) and "resourceType" in held:
            yield from _with_inner(held)
        yield from _entries(entry, "part")


def _named_patients(resource: Json) -> frozenset[str]:
    found = (_target(resource[name]) for name in SUBJECTS if name in resource)
    return frozenset(name for kind, name in found if kind == "Patient")


def _author_people(resource: Json) -> frozenset[str]:
    found = []
    for name in _AUTHORS:
        if (value := resource.get(name)) is None:
            continue
        for author in value if isinstance(value, list) else (value,):
            if isinstance(author, Mapping):
                found.append(_target(author.get("actor", author.get("individual", author))))
    return frozenset(name for kind, name in found if kind == "Practitioner")


def _labels(resource: Json) -> frozenset[str]:
    meta = resource.get("meta")
    security = meta.get("security") if isinstance(meta, Mapping) else None
    return labels_of_codings(
        (coding.get("system"), str(coding["code"]))
        for coding in _objects(security)
        if coding.get("code")
    )


def _clinical_date(resource: Json, rules: DomainRules) -> date | None:
    for first, *below in rules.clinical_date:
        value: object = resource.get(first)
        for name in below:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            return local_day(value)
    context = resource.get("context")
    if isinstance(context, Mapping) and isinstance(context.get("period"), Mapping):
        start = context["period"].get("start")
        return local_day(start) if isinstance(start, str) else None
    return None


def _episode(resource: Json) -> str | None:
    if resource["resourceType"] == "Encounter":
        return resource.get("id")
    context = resource.get("context")
    inner = context.get("encounter") if isinstance(context, Mapping) else None
    candidates = [resource.get("encounter"), context, *_objects(inner)]
    for item in _objects(resource.get("item")):
        candidates.extend(_objects(item.get("encounter")))
    for candidate in candidates:
        kind, name = _target(candidate)
        if kind == "Encounter":
            return name
    return None


def _target(value: object) -> tuple[str, str]:
    reference = value.get("reference") if isinstance(value, Mapping) else None
    parts = reference.split("/") if isinstance(reference, str) else []
    return (parts[0], parts[1]) if len(parts) >= 2 else ("", "")


def _objects(value: object) -> Sequence[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
