"""RxNorm in RRF: names of RxNorm's own atoms, and what is an ingredient or a form of what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept
from ehr_inbound.terminology_files.tables import find_file

__all__ = ["read"]

_URL = "http://www.nlm.nih.gov/research/umls/rxnorm"
# Term types from the name that stands for a concept to other names of it.
_OTHER_NAMES = frozenset({"SY", "TMSY", "PSN", "ET"})
_SUPPRESSED = frozenset({"O", "Y", "E"})


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read the folder of a release."""
    header = SystemHeader(_URL, version, "RxNorm", "RxNorm", language="en")
    atoms: dict[str, list[list[str]]] = defaultdict(list)
    for row in _rows(find_file(path, "RXNCONSO.RRF")):
        if row[11] == "RXNORM":
            atoms[row[0]].append(row)
    return header, _concepts(atoms, _read_parents(path, atoms))


def _rows(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            yield line.rstrip("\r\n").split("|")


def _read_parents(path: Path, atoms: dict[str, list[list[str]]]) -> dict[str, list[str]]:
    """Return what each concept is a form of (`isa`), if the relations are there."""
    parents: dict[str, list[str]] = defaultdict(list)
    for file in path.rglob("RXNREL.RRF"):
        for row in _rows(file):
            # The second concept is an `isa` of the first (RRF reads from right to left).
            if row[7] == "isa" and row[10] == "RXNORM" and row[0] in atoms and row[4] in atoms:
                parents[row[4]].append(row[0])
    return parents


def _concepts(
    atoms: dict[str, list[list[str]]], parents: dict[str, list[str]]
) -> Iterator[LoadedConcept]:
    for code, rows in atoms.items():
        ordered = sorted(rows, key=lambda row: row[12] in _OTHER_NAMES)
        first = ordered[0]
        detail: dict[str, Any] = {"code": code, "display": first[14]}
        if others := [row[14] for row in ordered[1:]]:
            detail["designation"] = [
                {"language": "en", "value": name} for name in dict.fromkeys(others)
            ]
        detail["property"] = [
            {"code": "TTY", "valueString": first[12]},
            {"code": "inactive", "valueBoolean": all(row[16] in _SUPPRESSED for row in rows)},
        ]
        yield LoadedConcept(detail, tuple(dict.fromkeys(parents.get(code, ()))))
