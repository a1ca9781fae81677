"""R4's own expressions are read: search parameters, and invariants on the official examples."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ehr_fhir import definitions, fhirpath

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)

# Invariants of R4 that give nothing rather than true where the element they ask about is absent.
OPEN = {"bdl-8", "ras-2", "ref-1"}


def test_every_search_parameter_of_r4_compiles_for_each_of_its_types() -> None:
    compiled = 0
    for entry in definitions.load_definition("search-parameters.json.gz")["entry"]:
        parameter = entry["resource"]
        for base in parameter["base"]:
            if parameter.get("expression"):
                fhirpath.compile(
                    parameter["expression"], context_type=base, as_filters=True, own_terms=True
                )
                compiled += 1

    assert compiled > 1600


def test_the_invariants_of_r4_hold_on_its_examples(shared_data: Path) -> None:
    rules = _invariants(shared_data / "fhir-r4" / "definitions")
    answers: dict[str, set[str]] = {}

    for resource in _examples(shared_data / "fhir-r4" / "examples"):
        for element in _own_elements(resource):
            for key, expression in rules.get(element.type, ()):
                rule = fhirpath.compile(expression, as_filters=True)
                found = rule.evaluate(
                    resource, context=element, now=NOW, resolve=_stub, member_of=lambda *_: True
                )
                answers.setdefault(str(found), set()).add(key)

    assert answers.pop("[]") == OPEN
    assert answers.keys() == {"[True]"}
    assert len(answers["[True]"]) > 90


def _invariants(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """Return the rules of each resource, backbone element and datatype by the name of its type."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name in ("profiles-types.json.gz", "profiles-resources.json.gz"):
        for entry in json.loads(gzip.decompress((folder / name).read_bytes()))["entry"]:
            if entry["resource"].get("derivation") == "constraint":
                continue
            for element in entry["resource"].get("snapshot", {}).get("element", []):
                for rule in element.get("constraint", []):
                    # ele-1 alone would be most of the work.
                    if rule["severity"] == "error" and rule["key"] not in ("ele-1", "ext-1"):
                        row = (rule["key"], rule["expression"])
                        found.setdefault(element["path"], set()).add(row)
    return found


def _own_elements(resource: dict[str, Any]) -> list[fhirpath.Element]:
    """Return a resource and what is below it, but not the resources it holds."""
    below = fhirpath.compile("children()")
    found = level = fhirpath.compile("$this").evaluate(resource, now=NOW)
    while level:
        level = [
            child
            for element in level
            for child in below.evaluate(resource, context=element, now=NOW)
            if child.type not in definitions.resource_types()
        ]
        found = found + level
    return found


def _examples(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield json.loads(archive.read(name), parse_float=Decimal)


def _stub(reference: str) -> dict[str, Any] | None:
    kind, _, name = reference.rpartition("/")
    return {"resourceType": kind.rpartition("/")[2], "id": name} if kind else None
