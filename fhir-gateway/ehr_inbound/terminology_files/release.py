"""The formats by name, and how a file or folder of each is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept
from ehr_inbound.terminology_files import atc, fhir_json, icd10, loinc, rxnorm, snomed

__all__ = ["FORMATS", "Release", "read_release"]


@dataclass(frozen=True)
class Release:
    """One release of a code system, ready to be loaded."""

    header: SystemHeader
    concepts: Iterable[LoadedConcept]


Reader = Callable[[Path, str | None], tuple[SystemHeader, Iterable[LoadedConcept]]]
_READERS: dict[str, Reader] = {
    "atc": atc.read,
    "fhir": fhir_json.read,
    "icd10": icd10.read,
    "loinc": loinc.read,
    "rxnorm": rxnorm.read,
    "snomed": snomed.read,
}
# Name -> what is named on the command line.
FORMATS = {
    "atc": "a CSV file with `atc_code` and `atc_name`, as WHO's index is exported",
    "fhir": "a CodeSystem as FHIR JSON, of any size",
    "icd10": "WHO's classification in ClaML (XML)",
    "loinc": "a folder of a release of LOINC, or its `Loinc.csv`",
    "rxnorm": "a folder of a release of RxNorm with `RXNCONSO.RRF`",
    "snomed": "a folder of a release of SNOMED CT in RF2, `Snapshot`",
}


def read_release(kind: str, path: Path, version: str | None = None) -> Release:
    """Read a release; `version` goes before what the files say of it.

    Raise NotFound for a file that is not there, Invalid for one that is not of the format.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder {path}.")
    try:
        header, concepts = _READERS[kind](path, version)
    except (UnicodeDecodeError, KeyError, ValueError) as error:
        raise Invalid(f"{path} is not {FORMATS[kind]}.") from error
    return Release(header, concepts)
