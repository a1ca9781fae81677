"""Choose the committed sample from a Synthea bulk export: `python -m ehr_cli.sample.select DIR`.

The rule is simple so that anybody can repeat it: every patient with at least one acute stay (an
Encounter of class IMP or EMER, what the readmission model learns from) whose record is not huge,
plus the directory resources they point to. Lines are copied byte for byte.
"""

from __future__ import annotations

import gzip
import lzma
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ehr_cli.sample.synthea_source import DIRECTORY_TYPES, FOLDER, patient_of

MAX_RECORD_BYTES = 3_500_000
ACUTE = frozenset({"IMP", "EMER"})
CONDITIONAL = re.compile(rb'"(Organization|Location|Practitioner)\?identifier=[^|"]+\|([^"]+)"')
MEDICATION = re.compile(rb'"Medication/([^"]+)"')


def select_lines(export: Path) -> dict[str, list[bytes]]:
    """Return the chosen lines of an export by resource type, in the export's order."""
    chosen = _select_patients(export)
    lines: dict[str, list[bytes]] = defaultdict(list)
    wanted_keys: set[str] = set()
    for resource_type, line in _read_lines(export, directory=False):
        if patient_of(orjson.loads(line)) in chosen:
            lines[resource_type].append(line)
            wanted_keys.update(match[1].decode() for match in CONDITIONAL.findall(line))
            wanted_keys.update(match.decode() for match in MEDICATION.findall(line))
    for resource_type, line in _read_lines(export, directory=True):
        if _directory_keys(orjson.loads(line)) & wanted_keys:
            lines[resource_type].append(line)
    return dict(lines)


def write_lines(lines: dict[str, list[bytes]], out: Path) -> None:
    """Write the chosen lines, one compressed file for each resource type."""
    out.mkdir(parents=True, exist_ok=True)
    for resource_type, chosen in lines.items():
        with lzma.open(
            out / f"{resource_type}.ndjson.xz", "wb", preset=9 | lzma.PRESET_EXTREME
        ) as file:
            file.writelines(chosen)


def _select_patients(export: Path) -> frozenset[str]:
    size: dict[str, int] = defaultdict(int)
    acute: set[str] = set()
    for _, line in _read_lines(export, directory=False):
        resource = orjson.loads(line)
        patient = patient_of(resource)
        size[patient] += len(line)
        if resource["resourceType"] == "Encounter" and resource["class"]["code"] in ACUTE:
            acute.add(patient)
    return frozenset(patient for patient in acute if size[patient] <= MAX_RECORD_BYTES)


def _read_lines(export: Path, *, directory: bool) -> Iterator[tuple[str, bytes]]:
    for path in sorted(export.glob("*.ndjson*")):
        resource_type = path.name.split(".")[0]
        if (resource_type in DIRECTORY_TYPES) is directory:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                yield from ((resource_type, line) for line in file)


def _directory_keys(resource: dict[str, Any]) -> set[str]:
    # A PractitionerRole is found by the identifier of its practitioner.
    nested = resource.get("practitioner", {}).get("identifier")
    identifiers = [*resource.get("identifier", []), *([nested] if nested else [])]
    return {resource["id"], *(item["value"] for item in identifiers)}


if __name__ == "__main__":
    write_lines(select_lines(Path(sys.argv[1])), FOLDER)
