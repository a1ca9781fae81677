"""Make the compact definition files from HL7's R4 definitions; run by hand, never at runtime."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def build(definitions: Path) -> None:
    """Write elements, marks, reference targets and compartments beside this file."""
    elements: dict[str, dict[str, list[Any]]] = {}
    marks: dict[str, dict[str, list[str]]] = {}
    targets: dict[str, dict[str, list[str]]] = {}
    for name in ("profiles-types.json.gz", "profiles-resources.json.gz"):
        bundle = json.loads(gzip.decompress((definitions / name).read_bytes()))
        for entry in bundle["entry"]:
            _add_type(elements, entry["resource"])
            _add_marks(marks, entry["resource"])
            _add_targets(targets, entry["resource"])
    _write_gzip(HERE / "elements.json.gz", elements)
    _write_gzip(HERE / "marks.json.gz", marks)
    _write_gzip(HERE / "targets.json.gz", targets)
    compartments = {}
    for path in sorted(definitions.glob("compartmentdefinition-*.json")):
        compartment = json.loads(path.read_bytes())
        rows = {row["code"]: row["param"] for row in compartment["resource"] if row.get("param")}
        compartments[compartment["code"]] = rows
    _write_json(HERE / "patient-compartment.json", compartments.pop("Patient"))
    _write_json(HERE / "compartments.json", compartments)


def _add_type(elements: dict[str, dict[str, list[Any]]], definition: dict[str, Any]) -> None:
    if definition["resourceType"] != "StructureDefinition" or definition["kind"] == "logical":
        return
    if definition.get("derivation") == "constraint":
        return
    kind = "primitive" if definition["kind"] == "primitive-type" else "complex"
    if kind == "primitive":
        return
    elements[definition["type"]] = {}
    for element in definition["snapshot"]["element"][1:]:
        owner, _, name = element["path"].rpartition(".")
        elements.setdefault(owner, {})[name] = [
            _types(element),
            element["min"],
            0 if element["max"] == "*" else int(element["max"]),
        ]


def _add_marks(marks: dict[str, dict[str, list[str]]], definition: dict[str, Any]) -> None:
    if definition.get("kind") != "resource" or definition.get("derivation") == "constraint":
        return
    for element in definition["snapshot"]["element"][1:]:
        owner, _, name = element["path"].rpartition(".")
        for mark in ("isSummary", "isModifier"):
            if element.get(mark):
                marks.setdefault(owner, {}).setdefault(mark, []).append(name)


def _add_targets(targets: dict[str, dict[str, list[str]]], definition: dict[str, Any]) -> None:
    if definition.get("kind") not in ("resource", "complex-type"):
        return
    if definition.get("derivation") == "constraint":
        return
    for element in definition["snapshot"]["element"][1:]:
        owner, _, name = element["path"].rpartition(".")
        for kind in element.get("type", ()):
            # `Reference` without profiles, and `Reference(Resource)`, may name any resource.
            if kind["code"] == "Reference" and kind.get("targetProfile"):
                types = {profile.rpartition("/")[2] for profile in kind["targetProfile"]}
                if "Resource" not in types:
                    targets.setdefault(owner, {})[name] = sorted(types)


def _types(element: dict[str, Any]) -> list[str]:
    if "contentReference" in element:
        return [element["contentReference"].removeprefix("#")]
    codes = [kind["code"] for kind in element["type"]]
    if codes in (["BackboneElement"], ["Element"]):
        return [element["path"]]
    # Element ids are typed by FHIRPath's own System types.
    return [
        code.removeprefix("http://hl7.org/fhirpath/System.").lower() if ":" in code else code
        for code in codes
    ]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_gzip(path: Path, content: object) -> None:
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    # A fixed time stamp keeps the file the same from run to run.
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
