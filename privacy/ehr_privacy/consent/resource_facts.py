"""The facts of a resource by which consent decides: domain, labels, patients, date, episode.

A resource that holds others (contained, or a Bundle or Parameters stored as data) has their
patients, labels and domains too, so that a copy is never easier to see than the record it repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.dates import local_day
from ehr_fhir.own_entries import is_own_entry
from ehr_fhir.references import local_target, referenced_type
from ehr_fhir.resource_links import CONTAINERS, list_references
from ehr_privacy.consent.clinical_consents import is_clinical_consent
from ehr_privacy.consent.container_patients import SUBJECTS, patients_of_container
from ehr_privacy.consent.domain_rules import DomainRules, domains_of, load_domains
from ehr_privacy.consent.label_rules import LabelRules, labels_by_code
from ehr_privacy.consent.labels import CONFIDENTIALITY, labels_of_codings
from ehr_privacy.consent.model import ANY_DATE, UNKNOWN_PERSON, DateRange, Record

Json = Mapping[str, Any]  # JSON of every shape

# Where a resource kept as data holds others.
_HOLDING = {"Bundle": "entry", "Parameters": "parameter"}
# Who is said to have made what a record tells.
_AUTHORS = (
    "author", "recorder", "asserter", "performer", "requester", "resultsInterpreter", "participant",
    "interpreter", "operator", "assessor", "enterer", "sender", "contributor", "attester",
    "collection", "prescriber", "orderer", "expressedBy", "informationSource",
)  # fmt: skip
# Where the person stands in an author that is no reference itself.
_AUTHOR_PARTS = ("actor", "individual", "member", "party", "collector")
# The path of a reference in such an element of a resource, of a contained one, or of an entry.
_AUTHOR_PATH = re.compile(
    r"(?:^[A-Z]\w*|\.contained\[\d+\]|\.resource)"
    rf"\.(?:{'|'.join(_AUTHORS)})(?:\[\d+\])?(?:\.(?:{'|'.join(_AUTHOR_PARTS)}))?\.reference$"
)
# Whoever is named as an author by one of these is the person whom it names in turn.
AUTHOR_GROUPS = frozenset({"CareTeam", "PractitionerRole"})
# What an author may be told to be who is a person, where the reference itself does not show it.
_PEOPLE_TYPES = (None, "Practitioner", "PractitionerRole")
# People, organisations, places, and what decides or logs: none of them is a part of what is told
# about a patient. They give no facts to what names them, and take none from what they name: else a
# Consent could close itself to the carer who keeps it. (One that is a clinical document does both.)
PEOPLE_AND_PLACES = frozenset(
    {"AuditEvent", "Consent", "Endpoint", "HealthcareService", "Location", "Organization",
     "OrganizationAffiliation", "Patient", "Person", "Practitioner", "PractitionerRole",
     "RelatedPerson"}
)  # fmt: skip


def record_facts(
    resource: Json,
    author: str | None,
    label_rules: LabelRules | None = None,
    references: Iterable[str] | None = None,
) -> Record:
    """Return the facts that one version of a resource states, by which the consent rules decide.

    Labels are by the rules that ship with the package unless others are given. `references` are
    those of the resource, where the caller has listed them already.

    What others said of a record, and what it inherits from the records that it names, is added by
    `ehr_privacy.consent.held_facts`.

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
    domain, *other_domains = domains_of(resource)
    if references is None:
        references = [reference for _, reference in list_references(resource)]
    episodes: set[str] = set()
    clinical_consent = kind == "Consent" and not _is_rule(resource)
    if kind not in PEOPLE_AND_PLACES or clinical_consent:
        episodes |= _named_encounters(references)
    inner_domains = {*other_domains}
    holds_person = holds_rule = False
    for held in _with_inner(resource):
        if held is not resource and held["resourceType"] == "Patient":
            # It has an id within its holder alone: whose record this is stays unknown.
            holds_person = True
        elif is_container:
            holds_rule = holds_rule or _is_rule(held)
        else:
            patients |= patient_ids_of(held) | _named_patients(held)
        labels |= _labels(held)
        people |= _author_people(held)
        if held is not resource and held["resourceType"] == "Practitioner":
            # It has an id within its holder alone: who it is stays unknown.
            people |= {UNKNOWN_PERSON}
        if held["resourceType"] == "Encounter" and (name := held.get("id")):
            episodes.add(str(name))
        if is_container and held is not resource:
            episodes |= _named_encounters(name for _, name in list_references(held))
        if held is not resource and held["resourceType"] not in rules.directory:
            inner_domains |= {*domains_of(held, is_held=True)}
    directory = kind in rules.directory and not patients and not holds_person
    if holds_rule:
        # A rule is for few; a container that repeats one is its author's and the steward's alone.
        patients = frozenset()
    dates = stated_dates(resource)
    if kind not in PEOPLE_AND_PLACES or not directory:
        labels |= labels_by_code(resource, label_rules)
    return Record(
        type=kind,
        id=str(resource.get("id", "")),
        patients=patients,
        domain=domain,
        labels=labels,
        author=author,
        clinical_date=dates.first if dates and dates.first == dates.last else None,
        episodes=frozenset(episodes),
        directory=directory,
        inner_domains=frozenset(inner_domains - {domain}),
        author_people=people,
        clinical_consent=clinical_consent,
        performed_by_patient=is_own_entry(resource),
    )


def _is_rule(resource: Json) -> bool:
    return resource["resourceType"] == "Consent" and not is_clinical_consent(resource)


def stated_dates(resource: Json) -> DateRange | None:
    """Return the clinical date that a version states, as a range of one day; None if none.

    A date that is not known to the day, and days that differ in what it holds, may be any day.

    >>> stated_dates({"resourceType": "Condition", "onsetDateTime": "2026"}) == ANY_DATE
    True
    """
    rules = load_domains()
    dates = _clinical_date(resource, rules)
    for held in _with_inner(resource):
        if held is not resource and held["resourceType"] not in rules.directory:
            inner_dates = _clinical_date(held, rules)
            # Days that differ are no day: then every period that is closed closes it.
            dates = dates if inner_dates in (None, dates) else ANY_DATE
    return dates


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


def is_author_path(path: str) -> bool:
    """Say whether the reference at a path names whom a record says to have made it.

    >>> is_author_path("Procedure.performer[0].actor.reference")
    True
    >>> is_author_path("Communication.recipient[0].reference")
    False
    """
    return _AUTHOR_PATH.search(path) is not None


def _named_encounters(references: Iterable[str]) -> set[str]:
    return {name.split("/")[1] for name in references if name.startswith("Encounter/")}


def _author_people(resource: Json) -> frozenset[str]:
    if resource["resourceType"] == "PractitionerRole":
        # Whose role it is: the author of what names the role as its author.
        practitioner = resource.get("practitioner")
        return frozenset({_find_person(practitioner) or UNKNOWN_PERSON})
    people = set()
    for name in _AUTHORS:
        if (value := resource.get(name)) is None:
            continue
        for author in value if isinstance(value, list) else (value,):
            if isinstance(author, Mapping):
                people |= {
                    _find_person(author),
                    *(_find_person(author.get(part)) for part in _AUTHOR_PARTS),
                }
    return frozenset(person for person in people if person is not None)


def _find_person(value: object) -> str | None:
    """Return the Practitioner whom a reference names, or that a person is named who is not known.

    >>> _find_person({"reference": "Practitioner/p"}), _find_person({"display": "Dr Yu"})
    ('p', '*')
    >>> _find_person({"reference": "Organization/o"}), _find_person({"reference": "#role"})
    (None, None)
    """
    if not isinstance(value, Mapping):
        return None
    reference = value.get("reference")
    if not isinstance(reference, str):
        is_named = "identifier" in value or "display" in value
        is_person = is_named and value.get("type") in _PEOPLE_TYPES
        return UNKNOWN_PERSON if is_person else None
    if target := local_target(reference):
        return target.id if target.type == "Practitioner" else None
    if reference.startswith("#"):
        # A contained resource tells of itself.
        return None
    kind = referenced_type(reference) or value.get("type")
    return UNKNOWN_PERSON if kind in _PEOPLE_TYPES else None


def _labels(resource: Json) -> frozenset[str]:
    meta = resource.get("meta")
    codings = [*_objects(meta.get("security"))] if isinstance(meta, Mapping) else []
    # A label by words alone is a label all the same: a coding without a code, which is in doubt.
    for concept in _objects(resource.get("securityLabel")):
        codings += _objects(concept.get("coding")) or [{}]
    if level := resource.get("confidentiality"):
        codings.append({"system": CONFIDENTIALITY, "code": level})
    if not codings:
        return frozenset()
    return labels_of_codings((coding.get("system"), coding.get("code")) for coding in codings)


def _clinical_date(resource: Json, rules: DomainRules) -> DateRange | None:
    for first, *below in rules.clinical_date:
        value: object = resource.get(first)
        for name in below:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            return _range_of_day(value)
    context = resource.get("context")
    if isinstance(context, Mapping) and isinstance(context.get("period"), Mapping):
        start = context["period"].get("start")
        return _range_of_day(start) if isinstance(start, str) else None
    return None


def _range_of_day(value: str) -> DateRange:
    day = local_day(value)
    return ANY_DATE if day is None else DateRange(day, day)


def _target(value: object) -> tuple[str, str]:
    reference = value.get("reference") if isinstance(value, Mapping) else None
    parts = reference.split("/") if isinstance(reference, str) else []
    return (parts[0], parts[1]) if len(parts) >= 2 else ("", "")


def _objects(value: object) -> Sequence[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
