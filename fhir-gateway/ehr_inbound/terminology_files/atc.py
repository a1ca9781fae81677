"""ATC as a CSV file of codes and names: the levels are the lengths of the codes (1, 3, 4, 5, 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept
from ehr_inbound.terminology_files.tables import read_csv

__all__ = ["read"]

_URL = "http://www.whocc.no/atc"
_LENGTHS = (1, 3, 4, 5, 7)


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read a CSV file with `atc_code` and `atc_name`; doses of one code are passed over."""
    names: dict[str, str] = {}
    for row in read_csv(path):
        names.setdefault(row["atc_code"].strip(), row["atc_name"].strip())
    return SystemHeader(_URL, version, "ATC", "ATC", language="en"), _concepts(names)


def _concepts(names: dict[str, str]) -> Iterator[LoadedConcept]:
    for code, name in names.items():
        above = [code[:length] for length in _LENGTHS if length < len(code)]
        known = [one for one in above if one in names]
        yield LoadedConcept({"code": code, "display": name}, tuple(known[-1:]))
