"""A CodeSystem as FHIR JSON, of any size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.terminology.code_system import MemoryCodeSystem, Selection, SystemHeader
from ehr_gateway.terminology.load import LoadedConcept

__all__ = ["read"]


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read a CodeSystem resource; raise Invalid for another, or one without its concepts."""
    resource: Any = json.loads(path.read_bytes())
    if not isinstance(resource, dict) or resource.get("resourceType") != "CodeSystem":
        raise Invalid(f"{path} is not a CodeSystem as FHIR JSON.")
    if resource.get("content") not in ("complete", "fragment"):
        raise Invalid("The CodeSystem's content is neither complete nor a fragment.")
    if version is not None:
        resource["version"] = version
    system = MemoryCodeSystem(resource)
    return system.header, _concepts(system)


def _concepts(system: MemoryCodeSystem) -> Iterator[LoadedConcept]:
    for concept in system.select(Selection()):
        above = tuple(code for code in system.parents(concept.code) if system.find(code))
        yield LoadedConcept(concept.detail, above)
