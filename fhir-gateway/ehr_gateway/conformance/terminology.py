"""The TerminologyCapabilities (R4 §3.1.0.10, `mode=terminology`), made from what is here.

Stored CodeSystems are not in it: who may find them is decided for each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ehr_fhir.terminology.code_system import SystemHeader
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_gateway.operations.expand import OPERATION
from ehr_gateway.settings import GatewaySettings

__all__ = ["build_terminology_capabilities"]

# When the statement was published; it need not move with each code system that is loaded.
_DATE = "2026-11-29"


def build_terminology_capabilities(
    settings: GatewaySettings, loaded: Iterable[SystemHeader]
) -> dict[str, Any]:
    """Return the TerminologyCapabilities: the code systems that are shipped or were loaded."""
    versions: dict[str, list[str]] = {url: [] for url in R4_LIBRARY.system_urls()}
    for url, version in R4_LIBRARY.system_versions():
        versions[url].append(version)
    for header in loaded:
        found = versions.setdefault(header.url, [])
        if header.version:
            found.append(header.version)
    return {
        "resourceType": "TerminologyCapabilities",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "software": {"name": "eHR Commons"},
        "implementation": {
            "description": "eHR Commons: R4's own code systems, those that were loaded, and"
            " CodeSystem resources that a requester may find.",
            "url": settings.fhir_base,
        },
        "codeSystem": [_system(url, known) for url, known in sorted(versions.items())],
        "expansion": {
            "hierarchical": True,
            "paging": True,
            "incomplete": False,
            "parameter": [
                {"name": parameter.name, "documentation": parameter.documentation}
                for parameter in OPERATION.parameters
            ],
            "textFilter": "Each word of `filter` must begin a word of a name or of the code.",
        },
        "codeSearch": "all",
        "validateCode": {"translations": True},
        "translation": {"needsMap": False},
    }


def _system(url: str, versions: list[str]) -> Mapping[str, Any]:
    entries = [{"code": version} for version in versions]
    return {"uri": url, **({"version": entries} if entries else {}), "subsumption": True}
