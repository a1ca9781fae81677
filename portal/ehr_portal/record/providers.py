"""Organisations as the pages show them, and which of them wrote a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.own_entries import is_own_entry
from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import HAN, HAN_TAG, LATIN_TAG, Text

# Where meta.source has the id of the organisation that wrote a record.
_SOURCE_PREFIX = f"{JURISDICTION.base}/organization/"
_TRANSLATION = "http://hl7.org/fhir/StructureDefinition/translation"


@dataclass(frozen=True)
class Provider:
    """An organisation; either name may be empty."""

    id: str
    latin: str
    han: str
    # Sees the record of everyone who joined, by law, as public hospitals do.
    deemed: bool
    # No provider: the platform itself.
    platform: bool

    def name_in(self, language: str) -> Text:
        """Return its name in the reader's script if it has one."""
        if self.han and language.startswith("zh"):
            return Text(self.han, HAN_TAG)
        return Text(self.latin or self.han, LATIN_TAG if self.latin else HAN_TAG)


def parse_provider(organization: Resource) -> Provider:
    """Return an Organization as a Provider."""
    names = [
        organization.get("name", ""),
        *organization.get("alias", ()),
        *_translated_names(organization),
    ]
    extensions = {extension["url"] for extension in organization.get("extension", ())}
    types = {
        coding.get("code")
        for concept in organization.get("type", ())
        for coding in concept.get("coding", ())
    }
    return Provider(
        id=organization["id"],
        latin=next((name for name in names if name and not HAN.search(name)), ""),
        han=next((name for name in names if HAN.search(name)), ""),
        deemed=any(url.endswith("/deemed-sharing") for url in extensions),
        # An organisation that says what it is, and is no healthcare provider, has no switch.
        platform=organization["id"] == "ehr-commons" or (bool(types) and "prov" not in types),
    )


def written_by_patient(resource: Resource) -> bool:
    """Return whether a record is the patient's own entry: no organisation is its author.

    >>> own = {"reference": "Patient/p"}
    >>> entry = {"resourceType": "Observation", "subject": own, "performer": [own]}
    >>> written_by_patient(entry)
    True
    >>> written_by_patient({**entry, "meta": {"source": "https://ehr-commons.hk/organization/ha"}})
    False
    """
    return is_own_entry(resource) and author_organization(resource) is None


def author_organization(resource: Resource) -> str | None:
    """Return the id of the organisation that wrote a record, None if the record does not say.

    >>> author_organization({"meta": {"source": "https://ehr-commons.hk/organization/ha-a#x"}})
    'ha-a'
    >>> author_organization({"performer": [{"reference": "Organization/st-b"}]})
    'st-b'
    """
    source = resource.get("meta", {}).get("source", "")
    if source.startswith(_SOURCE_PREFIX):
        return str(source.removeprefix(_SOURCE_PREFIX)).partition("#")[0]
    for reference in _author_references(resource):
        resource_type, _, resource_id = reference.partition("/")
        if resource_type == "Organization":
            return resource_id
    return None


def _author_references(resource: Resource) -> Iterable[str]:
    for path in ("serviceProvider", "custodian", "performer", "author", "managingOrganization"):
        # A Reference, a list of them, or (performer of a Procedure) of elements with an actor.
        values: Any = resource.get(path, ())
        for value in [values] if isinstance(values, Mapping) else values:
            actor = value.get("actor", value) if isinstance(value, Mapping) else {}
            yield str(actor.get("reference", ""))


def _translated_names(organization: Resource) -> Iterable[str]:
    for extension in organization.get("_name", {}).get("extension", ()):
        if extension["url"] == _TRANSLATION:
            yield from (
                part.get("valueString", "")
                for part in extension["extension"]
                if part["url"] == "content"
            )
