"""Elements that change what a rule means (R4 §2.6.1, `isModifier`): understood, or refused.

R4 forbids to process a resource with a modifier that is not understood. Of the types that rules
come from these are understood: `Consent.status` and `scope`, `Organization.active`,
`Patient.active`, `deceased[x]` and `link`, and `use` of an identifier unless it is `old`.
`implicitRules` and `modifierExtension` never are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_privacy.consent.provision import EHR_SYSTEM, concept_codes, list_objects, refuse

__all__ = ["DEEMED", "PATIENT_PRIVACY", "refuse_unknown_modifiers"]

Json = Mapping[str, Any]  # JSON of every shape

PATIENT_PRIVACY = ("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")
# The extension of an Organization with which every joined patient shares.
DEEMED = f"{EHR_SYSTEM}/StructureDefinition/deemed-sharing"

_NEVER_UNDERSTOOD = ("implicitRules", "modifierExtension")


def refuse_unknown_modifiers(resource: Json) -> None:
    """Refuse with its path a modifier that the rules read from a resource do not understand."""
    kind = str(resource["resourceType"])
    for path in _READERS[kind](resource) if kind in _READERS else ():
        refuse(path, "An unknown modifier cannot be honoured.")


def _in_consent(consent: Json) -> Iterator[str]:
    """Yield unknown modifiers of a Consent that is a rule, at any depth and in what it contains."""
    if consent.get("status") == "active" and PATIENT_PRIVACY in concept_codes(consent.get("scope")):
        yield from _at_any_depth(consent, "Consent")


def _in_organization(organization: Json) -> Iterator[str]:
    """Yield unknown modifiers of an organisation that others are deemed to share with."""
    extensions = list_objects(organization.get("extension"))
    if any(extension.get("url") == DEEMED for extension in extensions):
        yield from _at_root(organization, "Organization")


def _in_patient(patient: Json) -> Iterator[str]:
    """Yield unknown modifiers of a person's account and of its links to others."""
    yield from _at_root(patient, "Patient")
    for number, link in enumerate(list_objects(patient.get("link"))):
        yield from _at_root(link, f"Patient.link[{number}]")


def _in_role(role: Json) -> Iterator[str]:
    """Yield unknown modifiers of what says that a person belongs to an organisation."""
    if "practitioner" in role and "organization" in role:
        yield from _at_root(role, "PractitionerRole")


def _at_root(node: Json, path: str) -> Iterator[str]:
    for name in _NEVER_UNDERSTOOD:
        if name in node or f"_{name}" in node:
            yield f"{path}.{name}"


def _at_any_depth(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _at_any_depth(item, f"{path}[{number}]")
    elif isinstance(node, Mapping):
        yield from _at_root(node, path)
        for name, value in node.items():
            yield from _at_any_depth(value, f"{path}.{name}")
        identifier = node.get("identifier")
        if isinstance(identifier, Mapping) and identifier.get("use") == "old":
            # Who is named by what names them no more.
            yield f"{path}.identifier.use"


_READERS = {
    "Consent": _in_consent,
    "Organization": _in_organization,
    "Patient": _in_patient,
    "PractitionerRole": _in_role,
}
