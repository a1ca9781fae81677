"""Compose an International Patient Summary (IPS 2.0.0) from the records of one person.

Everything in it follows from what is given, and so from what its reader may see: the identifier is
a digest of the content, and a section says that nothing is recorded where nothing was given.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ehr_fhir.ips.required_elements import say_what_is_absent
from ehr_fhir.ips.section_text import load_words, patient_text, section_text
from ehr_fhir.ips.sections import SECTIONS, Section, select_records
from ehr_fhir.json_text import serialize
from ehr_fhir.references import local_target

__all__ = ["PROFILE", "Summary", "compose_summary", "referenced_by"]

Json = Mapping[str, Any]  # FHIR JSON of every shape
_GUIDE = "http://hl7.org/fhir/uv/ips/StructureDefinition"
PROFILE = f"{_GUIDE}/Bundle-uv-ips"
_LOINC = "http://loinc.org"
_SUMMARY_CODE = "60591-5"
# Not `nilknown`, which says that somebody made sure, nor `withheld`, which would tell.
_EMPTY = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/list-empty-reason",
            "code": "unavailable",
            "display": "Unavailable",
        }
    ]
}
_NAMESPACE = uuid.UUID("c4d0c0c6-4f0c-5b0e-9b52-6f2f5c7a6d11")


@dataclass(frozen=True)
class Summary:
    """What a summary is made of: the person, the records, what these refer to; how, and when."""

    patient: Json
    records: tuple[Json, ...]
    # What records name: organisations, people, medicines, devices.
    supporting: tuple[Json, ...]
    # The address below which the resources are; fullUrls begin with it.
    base: str
    language: str
    # The instant of the document, as FHIR writes it.
    at: str
    # Who puts it together: a Device.
    author: Json


def compose_summary(summary: Summary) -> dict[str, Any]:
    """Return the document Bundle."""
    known = {
        f"{one['resourceType']}/{one['id']}": one
        for one in (summary.patient, *summary.records, *summary.supporting)
    }
    selected = select_records(summary.records)
    listed = _unique(record for section in SECTIONS for record in selected[section.key])
    named = _unique(
        known[target]
        for record in listed
        for target in referenced_by(record)
        if target in known and known[target]["resourceType"] in _SUPPORTING
    )
    entries = _unique([summary.patient, *listed, *_with_theirs(named, known), summary.author])
    content = [say_what_is_absent(one) for one in entries]
    digest = sha256(serialize([content, summary.at, summary.language])).hexdigest()
    composition = _build_composition(summary, selected, known, digest)
    identity = uuid.uuid5(_NAMESPACE, digest)
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [PROFILE]},
        "language": summary.language,
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{identity}"},
        "type": "document",
        "timestamp": summary.at,
        "entry": [
            {"fullUrl": f"{summary.base}/{one['resourceType']}/{one['id']}", "resource": one}
            for one in (composition, *content)
        ],
    }


# What is put beside the records that name it.
_SUPPORTING = frozenset(
    {"Device", "Location", "Medication", "Organization", "Practitioner", "PractitionerRole",
     "Specimen", "Substance"}
)  # fmt: skip


def referenced_by(resource: object) -> Iterable[str]:
    """Yield what a resource refers to on its own server, as Type/id.

    >>> list(referenced_by({"subject": {"reference": "Patient/a"}, "note": [{"text": "x"}]}))
    ['Patient/a']
    """
    if isinstance(resource, Mapping):
        reference = resource.get("reference")
        target = local_target(reference) if isinstance(reference, str) else None
        if target is not None:
            yield f"{target.type}/{target.id}"
        for value in resource.values():
            yield from referenced_by(value)
    elif isinstance(resource, list):
        for value in resource:
            yield from referenced_by(value)


def _with_theirs(named: Iterable[Json], known: Mapping[str, Json]) -> Iterable[Json]:
    """Yield resources and what they refer to themselves, such as the person of a role."""
    for one in named:
        yield one
        for target in referenced_by(one):
            if target in known and known[target]["resourceType"] in _SUPPORTING:
                yield known[target]


def _unique(resources: Iterable[Json]) -> list[Json]:
    return list({(one["resourceType"], one["id"]): one for one in resources}.values())


def _build_composition(
    summary: Summary, selected: Mapping[str, list[Json]], known: Mapping[str, Json], digest: str
) -> dict[str, Any]:
    words = load_words()[summary.language]
    return {
        "resourceType": "Composition",
        "id": str(uuid.uuid5(_NAMESPACE, f"composition {digest}")),
        "meta": {"profile": [f"{_GUIDE}/Composition-uv-ips"]},
        "language": summary.language,
        "text": patient_text(summary.patient, summary.language),
        "status": "final",
        "type": {"coding": [{"system": _LOINC, "code": _SUMMARY_CODE}]},
        "subject": {"reference": f"Patient/{summary.patient['id']}"},
        "date": summary.at,
        "author": [{"reference": f"Device/{summary.author['id']}"}],
        "title": words["title"],
        "section": [
            _build_section(section, selected[section.key], known, summary.language)
            for section in SECTIONS
            if section.is_required or selected[section.key]
        ],
    }


def _build_section(
    section: Section, records: list[Json], known: Mapping[str, Json], language: str
) -> dict[str, Any]:
    built: dict[str, Any] = {
        "title": load_words()[language][section.key],
        "code": {"coding": [{"system": _LOINC, "code": section.code}]},
        "text": section_text(section, records, known, language),
    }
    if records:
        built["entry"] = [
            {"reference": f"{record['resourceType']}/{record['id']}"} for record in records
        ]
    else:
        built["emptyReason"] = _EMPTY
    return built
