"""Whose record a Bundle or Parameters is that is stored as data.

A container comes as it was made, often elsewhere: `Patient/1` in a document of another hospital is
not the Patient/1 of this server. So a patient counts only where the container says that they are
this server's, or where who stores it says so. One person who is not known here leaves the whole
container without a patient: then it is its author's and the steward's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.bundle_references import BundleEntry, EntryIndex, bundle_entries, local_identity
from ehr_fhir.compartments import patient_references_of
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import Target, local_target, referenced_type, service_root, strip_version
from ehr_fhir.resource_links import CONTAINERS

__all__ = [
    "RECORD_SUBJECT",
    "SUBJECTS",
    "move_container",
    "patients_of_container",
    "state_patients",
]

Json = Mapping[str, Any]  # JSON of every shape

# In `meta`: whose record this container is, by the word of who stores it.
RECORD_SUBJECT = f"{JURISDICTION.fhir_base}/StructureDefinition/record-subject"
# Elements that say whose a resource is, whether or not its compartment has them. A Binary has no
# compartment; its securityContext says whose it is (R4 Binary).
SUBJECTS = ("subject", "patient", "for", "beneficiary", "securityContext")


@dataclass(frozen=True)
class _Held:
    """A resource in a container, and the entries that its references may name."""

    entry: BundleEntry
    index: EntryIndex
    is_contained: bool = False


def patients_of_container(container: Json, base: str = "") -> frozenset[str]:
    """Return the ids of the patients whose record a container is.

    `base` is this server's address, by which a fullUrl may name its patients.

    >>> entry = {"resource": {"resourceType": "Condition", "subject": {"reference": "Patient/a"}}}
    >>> sorted(patients_of_container({"resourceType": "Bundle", "entry": [entry]}))
    ['a']
    >>> foreign = {**entry, "fullUrl": "http://elsewhere/fhir/Condition/c"}
    >>> sorted(patients_of_container({"resourceType": "Bundle", "entry": [foreign]}))
    []
    """
    stated = frozenset(_stated_patients(container))
    patients: set[str] = set(stated)
    unknown = False
    for held in _held_resources(container, EntryIndex()):
        for patient in _persons(held, base):
            if patient is None:
                unknown = True
            else:
                patients.add(patient)
    return frozenset() if unknown and not stated else frozenset(patients)


def state_patients(container: dict[str, Any], base: str) -> dict[str, Any]:
    """Return a container whose `meta` states the patients whom its entries name under `base`.

    The bytes alone then say whose it is, wherever they are read and whatever the address is then.
    """
    named = patients_of_container(container, base) - patients_of_container(container)
    return _with_statement(container, named, frozenset()) if named else container


def move_container(
    container: dict[str, Any], leaving: str | None, patient: str
) -> dict[str, Any] | None:
    """Return a container stated to be a patient's and no more another's; the inside stays.

    None where that would not make it so: who is named inside as a patient of this server counts.
    """
    moved = _with_statement(container, frozenset({patient}), frozenset({leaving} - {None}))
    before = patients_of_container(container)
    return moved if patients_of_container(moved) == before - {leaving} | {patient} else None


def _with_statement(
    container: dict[str, Any], added: frozenset[str], removed: frozenset[str | None]
) -> dict[str, Any]:
    meta = container.get("meta", {})
    extensions = [
        extension
        for extension in meta.get("extension", ())
        if _stated_patient(extension) is None or _stated_patient(extension) not in removed
    ]
    extensions += [
        {"url": RECORD_SUBJECT, "valueReference": {"reference": f"Patient/{patient}"}}
        for patient in sorted(added)
    ]
    return {**container, "meta": {**meta, "extension": extensions}}


def _stated_patients(container: Json) -> Iterator[str]:
    meta = container.get("meta")
    extensions = meta.get("extension") if isinstance(meta, Mapping) else None
    for extension in _objects(extensions):
        if (patient := _stated_patient(extension)) is not None:
            yield patient


def _stated_patient(extension: Json) -> str | None:
    if extension.get("url") != RECORD_SUBJECT:
        return None
    target = local_target(_reference(extension.get("valueReference")) or "")
    return target.id if target and target.type == "Patient" else None


def _held_resources(container: Json, outer: EntryIndex) -> Iterator[_Held]:
    if container["resourceType"] == "Bundle":
        entries = list(bundle_entries(container))
        index = EntryIndex(entries)
    else:
        entries, index = list(_parameter_resources(container.get("parameter"))), outer
    for entry in entries:
        yield from _with_inner(_Held(entry, index))


def _parameter_resources(parameters: object) -> Iterator[BundleEntry]:
    for parameter in _objects(parameters):
        held = parameter.get("resource")
        if isinstance(held, Mapping) and "resourceType" in held:
            yield BundleEntry(held)
        yield from _parameter_resources(parameter.get("part"))


def _with_inner(held: _Held) -> Iterator[_Held]:
    resource = held.entry.resource
    if resource["resourceType"] in CONTAINERS:
        yield from _held_resources(resource, held.index)
        return
    yield held
    for inner in _objects(resource.get("contained")):
        if "resourceType" in inner:
            # Its references begin where those of what contains it do.
            entry = BundleEntry(inner, held.entry.full_url)
            yield _Held(entry, held.index, is_contained=True)


def _persons(held: _Held, base: str) -> Iterator[str | None]:
    """Yield the patients of one resource; None for a person who is not known here."""
    resource = held.entry.resource
    if resource["resourceType"] == "Patient":
        own = None if held.is_contained else local_identity(held.entry, base)
        yield own.id if own else None
        return
    references = set(patient_references_of(resource))
    for subject in _subjects(resource):
        reference = _reference(subject)
        if reference is None:
            # Told by name or number alone.
            yield None
        else:
            references.add(reference)
    for reference in references:
        yield from _person(reference, held, base)


def _subjects(resource: Json) -> Iterator[Json]:
    for name in SUBJECTS:
        value = resource.get(name)
        yield from _objects(value if isinstance(value, list) else [value])


def _person(reference: str, held: _Held, base: str) -> Iterator[str | None]:
    if reference.startswith("#"):
        # A contained Patient, which is met where it stands; or another thing.
        return
    named = held.index.find(reference, held.entry)
    if named is not None:
        if named.resource["resourceType"] == "Patient":
            own = local_identity(named, base)
            yield own.id if own else None
        return
    target = _own_target(reference, held.entry, base)
    kind = target.type if target else referenced_type(reference)
    if kind == "Patient":
        yield target.id if target else None
    elif kind is None:
        # A `urn:` that leads nowhere may be a person's.
        yield None


def _own_target(reference: str, source: BundleEntry, base: str) -> Target | None:
    plain = strip_version(reference)
    if source.full_url is not None and local_target(plain):
        # Relative to the service of the fullUrl; under a `urn:` it is nobody's (R4 §2.36.4.1).
        plain = f"{service_root(source.full_url)}/{plain}"
    return local_target(plain.removeprefix(f"{base}/") if base else plain)


def _reference(value: object) -> str | None:
    text = value.get("reference") if isinstance(value, Mapping) else None
    return text if isinstance(text, str) else None


def _objects(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
