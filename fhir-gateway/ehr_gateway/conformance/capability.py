"""What this server can do, generated from the registries that do it."""

from __future__ import annotations

from functools import cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.search.compartment_filters import COMPARTMENTS
from ehr_fhir.search.filters import SPECIAL_PARAMETERS, allowed_modifiers
from ehr_fhir.search_parameters import (
    AddedParameters,
    SearchParameter,
    official_parameters,
    parameters_of,
    use_added_parameters,
)
from ehr_gateway.interaction_codes import codes_at_level
from ehr_gateway.operations.registry import of_system, of_type
from ehr_gateway.settings import GatewaySettings

# When the statement was published; it need not move with each operation or parameter that is added.
_DATE = "2026-11-28"


def capability_statement(settings: GatewaySettings, added: AddedParameters) -> dict[str, Any]:
    """Return the CapabilityStatement of `/fhir/metadata`, with search parameters added to R4's."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
        "software": {"name": "eHR Commons"},
        "implementation": {
            "description": "eHR Commons: records shared under the patient's own control. "
            "Resources are validated with R4B's definitions.",
            "url": settings.fhir_base,
        },
        "rest": [
            {
                "mode": "server",
                "documentation": "JSON of R4 alone: XML and Turtle are refused with 406 and 415. "
                "An unknown parameter is refused, unless Prefer: handling=lenient is sent. "
                "Codes of required bindings are checked; profiles are not.",
                "security": _security(settings),
                "resource": _resources(added),
                "interaction": [{"code": code} for code in codes_at_level("system")],
                "operation": of_system(),
                "searchParam": _system_parameters(),
                "compartment": [
                    f"http://hl7.org/fhir/CompartmentDefinition/{name.lower()}"
                    for name in COMPARTMENTS
                ],
            }
        ],
    }


def _security(settings: GatewaySettings) -> dict[str, Any]:
    addresses = {
        "authorize": "authorize", "token": "token", "introspect": "introspect",
        "revoke": "revoke",
    }  # fmt: skip
    if settings.registration != "off":
        addresses["register"] = "register"
    return {
        "cors": True,
        "service": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR",
                    }
                ]
            }
        ],
        "extension": [
            {
                "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                "extension": [
                    {"url": name, "valueUri": f"{settings.oauth_issuer}/{path}"}
                    for name, path in addresses.items()
                ],
            }
        ],
    }


def _resources(added: AddedParameters) -> list[dict[str, Any]]:
    with use_added_parameters(added):
        return [
            _resource(one["type"]) if one["type"] in added else one for one in _official_resources()
        ]


@cache
def _official_resources() -> list[dict[str, Any]]:
    with use_added_parameters({}):
        return [_resource(name) for name in sorted(definitions.resource_types())]


def _resource(name: str) -> dict[str, Any]:
    if name == "AuditEvent":
        return {
            "type": name,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "versioning": "no-version",
            "searchParam": [
                {"name": "_id", "type": "token"},
                {"name": "agent", "type": "token"},
                {"name": "altid", "type": "token"},
                {"name": "date", "type": "date"},
                {"name": "outcome", "type": "token"},
                {"name": "patient", "type": "reference"},
                {"name": "subtype", "type": "token"},
            ],
            "operation": of_type(name),
        }
    found = sorted(parameters_of(name).values(), key=lambda one: one.code)
    # FHIR's JSON has no empty arrays.
    reverse = {"searchRevInclude": _referring()[name]} if name in _referring() else {}
    return {
        "type": name,
        "interaction": [{"code": code} for code in codes_at_level("type")],
        "versioning": "versioned-update",
        "readHistory": True,
        # Programs may choose ids. People may in the directory alone: in a patient's record a free
        # id must not look different from a hidden one.
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "searchInclude": [
            f"{name}:{one.code}" for one in found if one.type == "reference" and one.is_indexed
        ],
        **reverse,
        "searchParam": [_parameter(one) for one in found if one.is_searchable],
        "operation": of_type(name),
    }


def _parameter(one: SearchParameter) -> dict[str, str]:
    described = {"name": one.code, "type": one.type}
    if found := allowed_modifiers(one):
        described["documentation"] = f"Modifiers: {', '.join(f':{name}' for name in found)}"
    return described


def _system_parameters() -> list[dict[str, str]]:
    """Return what can be said in a search of any type beside the type's own parameters."""
    return [{"name": name, "type": kind} for name, kind in sorted(SPECIAL_PARAMETERS.items())]


@cache
def _referring() -> dict[str, list[str]]:
    """Return what refers to each type; what may refer to anything at all is left out."""
    found: dict[str, list[str]] = {}
    types = definitions.resource_types()
    for source in sorted(types - {"AuditEvent"}):
        for code, one in sorted(official_parameters(source).items()):
            if one.type == "reference" and one.is_indexed and len(one.targets) < len(types) // 2:
                for target in one.targets:
                    found.setdefault(target, []).append(f"{source}:{code}")
    return found
