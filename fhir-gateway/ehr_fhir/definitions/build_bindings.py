"""Make the table of required bindings from HL7's R4 definitions; run by hand, never at runtime.

Only elements of type `code` whose value set is a list of codes of HL7's own systems. Value sets of
other owners' vocabularies (languages, media types, currencies, units) are not in the table.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# A list of another owner's, under another licence.
_FOREIGN = frozenset({"http://hl7.org/fhir/ValueSet/spdx-license"})
_OWN = ("http://hl7.org/fhir/", "http://terminology.hl7.org/CodeSystem/")


def build(definitions: Path) -> None:
    """Write bindings.json.gz beside this file."""
    known = {
        resource["url"]: resource
        for name in ("valuesets.json.gz", "v3-codesystems.json.gz")
        for resource in _resources(definitions / name)
        if "url" in resource
    }
    sets: dict[str, list[str]] = {}
    elements: dict[str, dict[str, str]] = {}
    for name in ("profiles-types.json.gz", "profiles-resources.json.gz"):
        for definition in _resources(definitions / name):
            for owner, element, url in _bound(definition):
                codes = None if url in _FOREIGN else _codes(known, url)
                if codes:
                    sets[url.rpartition("/")[2]] = sorted(codes)
                    elements.setdefault(owner, {})[element] = url.rpartition("/")[2]
    text = json.dumps({"sets": sets, "elements": elements}, separators=(",", ":"), sort_keys=True)
    # A fixed time stamp keeps the file the same from run to run.
    (HERE / "bindings.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _bound(definition: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if definition["resourceType"] != "StructureDefinition":
        return
    if definition.get("derivation") == "constraint" or definition["kind"] == "logical":
        return
    for element in definition["snapshot"]["element"][1:]:
        binding = element.get("binding", {})
        kinds = [kind["code"] for kind in element.get("type", ())]
        if binding.get("strength") == "required" and kinds == ["code"] and "valueSet" in binding:
            owner, _, name = element["path"].rpartition(".")
            yield owner, name, binding["valueSet"].partition("|")[0]


def _codes(known: Mapping[str, Any], url: str) -> set[str] | None:
    """Return the codes of a value set; nothing where not every one is known."""
    found: set[str] = set()
    definition = known.get(url, {}).get("compose", {})
    if not definition or "exclude" in definition:
        return None
    for part in definition["include"]:
        if "filter" in part or not part.get("system", _OWN[0]).startswith(_OWN):
            return None
        inner = [_codes(known, url.partition("|")[0]) for url in part.get("valueSet", ())]
        if inner:
            if None in inner or "system" in part or len(inner) > 1:
                return None
            found |= inner[0] or set()
        elif "concept" in part:
            found |= {concept["code"] for concept in part["concept"]}
        else:
            system = known.get(part["system"], {})
            if system.get("content") != "complete":
                return None
            found |= set(_concepts(system.get("concept", ())))
    return found


def _concepts(concepts: Any) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _concepts(concept.get("concept", ()))


def _resources(path: Path) -> Iterator[dict[str, Any]]:
    bundle = json.loads(gzip.decompress(path.read_bytes()))
    for entry in bundle["entry"]:
        yield entry["resource"]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
