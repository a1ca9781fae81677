"""Make the table of R4's own code systems, value sets and concept maps; run by hand.

Left out is what another owner's licence covers: code systems that are not HL7's, and value sets and
concept maps that list codes of one, or that choose among them by a filter.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_OWN = ("http://hl7.org/fhir/", "http://terminology.hl7.org/")
# A list of another owner's, under another licence.
_FOREIGN = ("http://hl7.org/fhir/spdx-license", "http://hl7.org/fhir/sid/")
# Units, tags of languages and media types are free to list.
_FREE = ("http://unitsofmeasure.org", "urn:ietf:")
_FILES = ("valuesets.json.gz", "v3-codesystems.json.gz", "v2-tables.json.gz", "conceptmaps.json.gz")
# What is kept of a resource: not its narrative, its publisher, nor what tools noted in extensions.
_KEPT = (
    "resourceType", "id", "url", "version", "name", "title", "status", "experimental",
    "caseSensitive", "valueSet", "hierarchyMeaning", "compositional", "content", "supplements",
    "count", "property", "concept", "compose", "sourceUri", "sourceCanonical", "targetUri",
    "targetCanonical", "group",
)  # fmt: skip


def build(definitions: Path) -> None:
    """Write terminology.jsonl.gz beside this file: a line for each resource."""
    kept = {
        (resource["resourceType"], resource["url"]): resource
        for name in _FILES
        for resource in _resources(definitions / name)
        if resource["resourceType"] in ("CodeSystem", "ValueSet", "ConceptMap")
        and _is_own(resource)
    }
    lines = [
        json.dumps(_compact(resource), ensure_ascii=False, separators=(",", ":"))
        for _, resource in sorted(kept.items())
    ]
    text = "".join(f"{line}\n" for line in lines)
    # A fixed time stamp keeps the file the same from run to run.
    (HERE / "terminology.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _is_own(resource: Mapping[str, Any]) -> bool:
    if resource["resourceType"] == "CodeSystem":
        return _is_own_system(resource["url"]) and resource["content"] == "complete"
    if resource["resourceType"] == "ConceptMap":
        groups = resource.get("group", ())
        return all(
            _is_own_system(group.get(side, "")) for group in groups for side in ("source", "target")
        )
    compose = resource["compose"]
    return all(
        _is_own_system(part.get("system", _OWN[0]))
        or part["system"].startswith(_FREE)
        or not {"concept", "filter"} & part.keys()
        for part in (*compose.get("include", ()), *compose.get("exclude", ()))
    )


def _is_own_system(url: str) -> bool:
    return url.startswith(_OWN) and not url.startswith(_FOREIGN)


def _compact(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _without_extensions(resource[key]) for key in _KEPT if key in resource}


def _without_extensions(value: Any) -> Any:  # Any: JSON
    if isinstance(value, list):
        return [_without_extensions(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: _without_extensions(item)
        for key, item in value.items()
        if key != "extension" and not key.startswith("_")
    }
    # A designation without a value has nothing but an extension.
    if "designation" in kept:
        kept["designation"] = [one for one in kept["designation"] if "value" in one]
    return kept


def _resources(path: Path) -> Iterator[Mapping[str, Any]]:
    for entry in json.loads(gzip.decompress(path.read_bytes()))["entry"]:
        yield entry["resource"]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
