"""Make the compact StructureDefinitions of R4; run by hand.

What validation reads is kept: no descriptions, mappings or narratives.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_PROFILES = ("profiles-types", "profiles-resources", "profiles-others", "extension-definitions")
_OF_DEFINITION = "url version name kind abstract type baseDefinition derivation context"
_OF_ELEMENT = (
    "id path sliceName min max type contentReference binding constraint slicing isModifier "
    "maxLength"
)
_OF_CONSTRAINT = "key severity human expression"
# Rules of every element, which the check of the structure knows.
_OF_EVERY_ELEMENT = frozenset({"ele-1", "ext-1"})
_VALUES = ("fixed", "pattern", "minValue", "maxValue")
# The codes beyond which a binding must not go, where it is extensible or preferred.
_MAX_VALUE_SET = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"


def build(definitions: Path) -> None:
    """Write structure-definitions.ndjson.gz beside this file."""
    # One to a line, so that a reader parses those alone that it needs.
    lines = [
        json.dumps(_structure_definition(resource), separators=(",", ":"))
        for resource in _resources(definitions)
    ]
    # A fixed time stamp keeps the file the same from run to run.
    content = gzip.compress("\n".join(lines).encode(), mtime=0)
    (HERE / "structure-definitions.ndjson.gz").write_bytes(content)


def _structure_definition(resource: Mapping[str, Any]) -> dict[str, Any]:
    elements = [_element(element) for element in resource["snapshot"]["element"]]
    return {**_pick(resource, _OF_DEFINITION), "snapshot": {"element": elements}}


def _element(element: Mapping[str, Any]) -> dict[str, Any]:
    kept = _pick(element, _OF_ELEMENT)
    kept.update({key: value for key, value in element.items() if key.startswith(_VALUES)})
    rules = [
        _pick(rule, _OF_CONSTRAINT)
        for rule in element.get("constraint", ())
        if rule["key"] not in _OF_EVERY_ELEMENT
    ]
    kept["constraint"] = rules
    if "binding" in kept:
        kept["binding"] = _pick(element["binding"], "strength valueSet extension")
        extensions = element["binding"].get("extension", ())
        kept["binding"]["extension"] = [one for one in extensions if one["url"] == _MAX_VALUE_SET]
    if kept["id"] == kept["path"]:
        del kept["id"]
    return {key: value for key, value in kept.items() if value not in (False, [])}


def _pick(content: Mapping[str, Any], keys: str) -> dict[str, Any]:
    return {key: content[key] for key in keys.split() if key in content}


def _resources(definitions: Path) -> Iterator[Mapping[str, Any]]:
    for name in _PROFILES:
        bundle = json.loads(gzip.decompress((definitions / f"{name}.json.gz").read_bytes()))
        for entry in bundle["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] == "StructureDefinition" and resource["kind"] != "logical":
                yield resource


if __name__ == "__main__":
    build(Path(sys.argv[1]))
