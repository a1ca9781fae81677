"""Persons of a project's pseudonyms: the platform alone leads them back to those of the lake.

Two projects know the same person by two pseudonyms. Releases of both are compared by the lake's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from ehr_analytics.project_dates import list_patients
from ehr_etl.lake import Lake
from ehr_etl.omop.identifiers import person_key
from ehr_fhir.errors import Conflict

__all__ = ["find_lake_pseudonyms"]


def find_lake_pseudonyms(data: Path, key: str, persons: Collection[str]) -> dict[str, str]:
    """Return the lake's pseudonym of each person; Conflict where the lake has one no more."""
    wanted = set(persons)
    found: dict[str, str] = {}
    for pseudonym in list_patients(Lake(data / "lake")) if wanted else ():
        # A view knows a patient by the pseudonym, OMOP by a number made of it.
        for value in (pseudonym, f"Patient/{pseudonym}", str(person_key(pseudonym))):
            own = hashlib.sha256(f"{key}{value}".encode()).hexdigest()
            if own in wanted:
                found[own] = pseudonym
    if len(found) < len(wanted):
        raise Conflict(
            "The results are about somebody who is in the lake no more, or whom the platform never "
            "named: run the study again."
        )
    return found
