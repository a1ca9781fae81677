"""US Core 6.1.0 out of the published package: definitions, value sets and examples."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.profiles.codes import LibraryCodes
from ehr_fhir.profiles.library import ProfileLibrary
from ehr_fhir.terminology.library import LayeredLibrary, ResourceLibrary
from ehr_fhir.terminology.r4 import R4_LIBRARY

BASE = "http://hl7.org/fhir/us/core/StructureDefinition/"


@dataclass(frozen=True)
class UsCore:
    """The package, by canonical address; examples by the name of their file."""

    structures: Mapping[str, Mapping[str, Any]]
    terminology: Mapping[str, Mapping[str, Any]]
    examples: Mapping[str, Mapping[str, Any]]

    def library(self) -> ProfileLibrary:
        """Return a library with the package's definitions beside R4's."""
        loaded = ResourceLibrary(self.terminology.values())
        codes = LibraryCodes(LayeredLibrary(R4_LIBRARY, loaded))
        return ProfileLibrary(lambda url, version: self.structures.get(url), codes)


@cache
def read_us_core(shared_data: Path) -> UsCore:
    """Read the package once."""
    structures: dict[str, Mapping[str, Any]] = {}
    terminology: dict[str, Mapping[str, Any]] = {}
    examples: dict[str, Mapping[str, Any]] = {}
    with tarfile.open(shared_data / "us-core" / "us_core_610.tgz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            path = Path(member.name)
            if file is None or path.suffix != ".json":
                continue
            if path.parent.name == "example":
                examples[path.stem] = parse(file.read())
            elif path.name.startswith("StructureDefinition-"):
                resource = parse(file.read())
                structures[resource["url"]] = resource
            elif path.name.startswith(("ValueSet-", "CodeSystem-")):
                resource = parse(file.read())
                terminology[resource["url"]] = resource
    return UsCore(structures, terminology, examples)
