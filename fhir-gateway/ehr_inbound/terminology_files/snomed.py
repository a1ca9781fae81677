"""SNOMED CT in RF2: the snapshot's concepts, descriptions, is-a relationships, language refsets.

Preferred synonyms stand before others, the fully specified name last. Other relationships become
properties by the number of their type, as R4 says (https://hl7.org/fhir/R4/snomedct.html).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept
from ehr_inbound.terminology_files.tables import find_file, read_tabs

__all__ = ["read"]

_URL = "http://snomed.info/sct"
# Identifiers of the release format itself (RF2): they say what a row is.
_IS_A = "116680003"
_FULLY_SPECIFIED = "900000000000003001"
_SYNONYM = "900000000000013009"
_PREFERRED = "900000000000548007"
_PRIMITIVE = "900000000000074008"


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read the folder of a release."""
    concepts = {row["id"]: row for row in read_tabs(find_file(path, "sct2_Concept_Snapshot_*.txt"))}
    if version is None:
        newest = max(row["effectiveTime"] for row in concepts.values())
        module = max(concepts.values(), key=lambda row: row["effectiveTime"])["moduleId"]
        version = f"{_URL}/{module}/version/{newest}"
    preferred = {
        row["referencedComponentId"]
        for file in path.rglob("der2_cRefset_Language*Snapshot*.txt")
        for row in read_tabs(file)
        if row["active"] == "1" and row["acceptabilityId"] == _PREFERRED
    }
    parents, attributes = _read_relationships(path)
    header = SystemHeader(
        _URL, version, "SNOMED_CT", "SNOMED CT", is_case_sensitive=True, language="en"
    )
    names = _read_names(path, preferred)
    return header, _concepts(concepts, names, parents, attributes)


def _read_names(path: Path, preferred: set[str]) -> dict[str, list[tuple[int, str, str, str]]]:
    """Return (rank, language, type, name) of the active descriptions of each concept."""
    names: dict[str, list[tuple[int, str, str, str]]] = defaultdict(list)
    for file in sorted(path.rglob("sct2_Description_Snapshot*.txt")):
        for row in read_tabs(file):
            if row["active"] == "1":
                is_full = row["typeId"] == _FULLY_SPECIFIED
                rank = 2 if is_full else 0 if row["id"] in preferred else 1
                entry = (rank, row["languageCode"], row["typeId"], row["term"])
                names[row["conceptId"]].append(entry)
    return names


def _read_relationships(
    path: Path,
) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str]]]]:
    parents: dict[str, list[str]] = defaultdict(list)
    attributes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in read_tabs(find_file(path, "sct2_Relationship_Snapshot_*.txt")):
        if row["active"] != "1":
            continue
        if row["typeId"] == _IS_A:
            parents[row["sourceId"]].append(row["destinationId"])
        else:
            attributes[row["sourceId"]].append((row["typeId"], row["destinationId"]))
    return parents, attributes


def _concepts(
    concepts: dict[str, dict[str, str]],
    names: dict[str, list[tuple[int, str, str, str]]],
    parents: dict[str, list[str]],
    attributes: dict[str, list[tuple[str, str]]],
) -> Iterator[LoadedConcept]:
    for code, row in concepts.items():
        ordered = sorted(names.get(code, ()), key=lambda one: one[0])
        english = [one for one in ordered if one[1].startswith("en")] or ordered
        detail: dict[str, Any] = {"code": code}
        if english:
            detail["display"] = english[0][3]
        detail["designation"] = [
            {"language": language, "use": {"system": _URL, "code": kind}, "value": name}
            for _, language, kind, name in ordered
        ]
        detail["property"] = [
            {"code": "inactive", "valueBoolean": row["active"] != "1"},
            {
                "code": "sufficientlyDefined",
                "valueBoolean": row["definitionStatusId"] != _PRIMITIVE,
            },
            {"code": "moduleId", "valueCode": row["moduleId"]},
            *({"code": kind, "valueCode": value} for kind, value in attributes.get(code, ())),
        ]
        known = tuple(parent for parent in parents.get(code, ()) if parent in concepts)
        yield LoadedConcept(detail, known)
