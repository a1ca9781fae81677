"""What analyses may count of identified records: districts, and hours of emergency attendances.

De-identified records have neither. The rows are read in memory, under the project's pseudonyms, for
the people whom the control counts anyway; nobody reads a row, and no file holds one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ehr_etl.lake import Lake
from ehr_etl.omop.identifiers import person_key
from ehr_etl.trusted_zone.visits import EMERGENCY, read_residents, read_visits

__all__ = ["TrustedRows", "read_trusted_rows"]


@dataclass(frozen=True)
class TrustedRows:
    """By person, under the project's pseudonyms: the district, and attendances by hour of day."""

    districts: Mapping[str, str] = field(default_factory=dict)
    attendances: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


def read_trusted_rows(
    data: Path, project_key: str, now_ms: int, *, districts: bool, hours: bool
) -> TrustedRows:
    """Read what is asked for of the records that research may use."""
    lake, key = Lake(data / "lake"), (data / "keys" / "deid.key").read_bytes()
    homes: dict[str, str] = {}
    if districts:
        for row in read_residents(lake, key, now_ms).to_pylist():
            if row["district"] is not None:
                homes |= dict.fromkeys(
                    _list_pseudonyms(project_key, row["person"]), row["district"]
                )
    visits: dict[str, Counter[int]] = {}
    if hours:
        for row in read_visits(lake, key, now_ms).to_pylist():
            if row["kind"] == EMERGENCY and row["start"] is not None:
                visits.setdefault(row["person"], Counter())[row["start"].hour] += 1
    attendances = {
        pseudonym: counts
        for person, counts in visits.items()
        for pseudonym in _list_pseudonyms(project_key, person)
    }
    return TrustedRows(homes, attendances)


def _list_pseudonyms(project_key: str, person: str) -> Iterator[str]:
    """Yield a person's pseudonyms in the project: a cohort of views has one, of OMOP another."""
    for value in (person, f"Patient/{person}", str(person_key(person))):
        yield hashlib.sha256(f"{project_key}{value}".encode()).hexdigest()
