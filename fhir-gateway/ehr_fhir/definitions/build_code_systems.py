"""Make the table of HL7's own code systems that R4 binds elements to; run by hand.

Of every value set that a binding of an element names, the systems that HL7 owns and publishes
whole, each with all its codes. Value sets of other owners' vocabularies are not in the table.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_OWN = ("http://hl7.org/fhir/", "http://terminology.hl7.org/CodeSystem/")
# A list of another owner's, under another licence.
_FOREIGN = "http://hl7.org/fhir/spdx-license"
_CODED = {"code", "Coding", "CodeableConcept"}


def build(definitions: Path) -> None:
    """Write code-systems.json.gz beside this file."""
    value_sets: dict[str, Mapping[str, Any]] = {}
    code_systems: dict[str, Mapping[str, Any]] = {}
    for name in ("valuesets.json.gz", "v3-codesystems.json.gz", "v2-tables.json.gz"):
        for resource in _resources(definitions / name):
            known = code_systems if resource["resourceType"] == "CodeSystem" else value_sets
            known[resource.get("url", "")] = resource
    systems = {
        system
        for name in ("profiles-types.json.gz", "profiles-resources.json.gz")
        for definition in _resources(definitions / name)
        for url in _bound_value_sets(definition)
        for system in _named_systems(value_sets, url, frozenset())
    }
    table = {
        system: sorted(set(_codes(code_systems[system].get("concept", ()))))
        for system in sorted(systems)
        if system.startswith(_OWN)
        and system != _FOREIGN
        and code_systems.get(system, {}).get("content") == "complete"
    }
    text = json.dumps(table, separators=(",", ":"), sort_keys=True)
    # A fixed time stamp keeps the file the same from run to run.
    (HERE / "code-systems.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _bound_value_sets(definition: Mapping[str, Any]) -> Iterator[str]:
    if definition["resourceType"] != "StructureDefinition":
        return
    for element in definition["snapshot"]["element"][1:]:
        kinds = {kind["code"] for kind in element.get("type", ())}
        binding = element.get("binding", {})
        if kinds & _CODED and "valueSet" in binding:
            yield binding["valueSet"].partition("|")[0]


def _named_systems(
    value_sets: Mapping[str, Mapping[str, Any]], url: str, seen: frozenset[str]
) -> Iterator[str]:
    """Yield the systems that a value set includes, by way of other value sets too."""
    if url in seen:
        return
    for include in value_sets.get(url, {}).get("compose", {}).get("include", ()):
        if "system" in include:
            yield include["system"]
        for other in include.get("valueSet", ()):
            yield from _named_systems(value_sets, other.partition("|")[0], seen | {url})


def _codes(concepts: Any) -> Iterator[str]:  # Any: concepts within concepts
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", ()))


def _resources(path: Path) -> Iterator[Mapping[str, Any]]:
    for entry in json.loads(gzip.decompress(path.read_bytes()))["entry"]:
        yield entry["resource"]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
