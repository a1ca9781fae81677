"""The CapabilityStatement (R4 §3.1.0.10), made from the registries that the server works by."""

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
from ehr_gateway.conformance.operation_definitions import DEFINITION_PARAMETERS
from ehr_gateway.conformance.subscriptions import subscription_component, websocket_extension
from ehr_gateway.interaction_codes import NOT_WRITTEN, codes_at_level
from ehr_gateway.operations.registry import system_capabilities, type_capabilities
from ehr_gateway.settings import GatewaySettings

# When the statement was published; it need not move with each operation or parameter that is added.
_DATE = "2026-11-28"
# Interactions that write content.
_CONTENT_CODES = frozenset({"create", "update", "patch"})


def build_capability_statement(settings: GatewaySettings, added: AddedParameters) -> dict[str, Any]:
    """Return the CapabilityStatement, with the search parameters that the installation added."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "instantiates": ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"],
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
        "software": {"name": "eHR Commons"},
        "implementation": {
            "description": "eHR Commons: records shared under the patient's own control. "
            "Resources are validated by R4's definitions.",
            "url": settings.fhir_base,
        },
        "rest": [
            {
                "extension": [websocket_extension(settings)],
                "mode": "server",
                "documentation": "JSON of R4 alone: XML and Turtle are refused with 406 and 415. "
                "An unknown parameter is refused, unless Prefer: handling=lenient is sent. "
                "Codes of required bindings are checked; profiles are not.",
                "security": _security_component(settings),
                "resource": _resource_components(settings, added),
                "interaction": [{"code": code} for code in codes_at_level("system")],
                "operation": system_capabilities(settings.fhir_base),
                "searchParam": _common_parameters(),
                "compartment": [
                    f"http://hl7.org/fhir/CompartmentDefinition/{name.lower()}"
                    for name in COMPARTMENTS
                ],
            }
        ],
    }


def _security_component(settings: GatewaySettings) -> dict[str, Any]:
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
                    {"url": name, "valueUri": f"{settings.issuer}/{path}"}
                    for name, path in addresses.items()
                ],
            }
        ],
    }


def _resource_components(settings: GatewaySettings, added: AddedParameters) -> list[dict[str, Any]]:
    base = settings.fhir_base
    with use_added_parameters(added):
        components = {
            component["type"]: _resource_component(component["type"], base)
            if component["type"] in added
            else component
            for component in _official_components(base)
        }
    # Served by routes of its own, whatever was added.
    return list((components | {"Subscription": subscription_component(settings)}).values())


@cache
def _official_components(base: str) -> list[dict[str, Any]]:
    with use_added_parameters({}):
        return [_resource_component(name, base) for name in sorted(definitions.resource_types())]


def _resource_component(name: str, base: str) -> dict[str, Any]:
    if name == "OperationDefinition":
        return {
            "type": name,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "versioning": "no-version",
            "searchParam": [
                {"name": name, "type": kind} for name, kind in DEFINITION_PARAMETERS.items()
            ],
            "operation": type_capabilities(name, base),
        }
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
                {"name": "patient.identifier", "type": "token"},
                {"name": "subtype", "type": "token"},
            ],
            "operation": type_capabilities(name, base),
        }
    parameters = sorted(parameters_of(name).values(), key=lambda parameter: parameter.code)
    includes = [
        f"{name}:{parameter.code}"
        for parameter in parameters
        if parameter.type == "reference" and parameter.is_indexed
    ]
    revincludes = _revincludes().get(name)
    is_written = name not in NOT_WRITTEN
    codes = [code for code in codes_at_level("type") if is_written or code not in _CONTENT_CODES]
    return {
        "type": name,
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned-update",
        "readHistory": True,
        # Programs may choose ids, within limits (`WritePermission.may_choose_id`). People may in
        # the directory alone: in a patient's record a free id must not look different from a hidden
        # one.
        "updateCreate": is_written,
        "conditionalCreate": is_written,
        "conditionalRead": "full-support",
        "conditionalUpdate": is_written,
        "conditionalDelete": "single",
        # FHIR's JSON has no empty arrays.
        **({"searchInclude": includes} if includes else {}),
        **({"searchRevInclude": revincludes} if revincludes else {}),
        "searchParam": [
            _parameter_component(parameter) for parameter in parameters if parameter.is_searchable
        ],
        "operation": type_capabilities(name, base),
    }


def _parameter_component(parameter: SearchParameter) -> dict[str, str]:
    component = {"name": parameter.code, "type": parameter.type}
    if modifiers := allowed_modifiers(parameter):
        names = ", ".join(f":{name}" for name in modifiers)
        component["documentation"] = f"Modifiers: {names}"
    return component


def _common_parameters() -> list[dict[str, str]]:
    """Return the search parameters of every type, beside each type's own."""
    return [{"name": name, "type": kind} for name, kind in sorted(SPECIAL_PARAMETERS.items())]


@cache
def _revincludes() -> dict[str, list[str]]:
    """Return the `_revinclude`s of each type.

    Parameters that may refer to half of all types or more are left out: they would stand on each.
    """
    found: dict[str, list[str]] = {}
    types = definitions.resource_types()
    for source in sorted(types - {"AuditEvent"}):
        for code, parameter in sorted(official_parameters(source).items()):
            is_reference = parameter.type == "reference" and parameter.is_indexed
            if is_reference and len(parameter.targets) < len(types) // 2:
                for target in parameter.targets:
                    found.setdefault(target, []).append(f"{source}:{code}")
    return found
