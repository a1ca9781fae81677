"""Subjects of an export: whom its rows are about, in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path

from ehr_analytics.withheld import DecisionBasis

__all__ = ["ExportSubjects", "load_subjects", "save_subjects"]

_FILE = "subjects.json"


@dataclass(frozen=True)
class ExportSubjects:
    """Pseudonyms of the patients and records of an export, and the decisions it is made by."""

    basis: DecisionBasis
    pseudonyms: Set[str]


def save_subjects(folder: Path, subjects: ExportSubjects) -> None:
    """Write the subjects of an export into its folder."""
    content = {**asdict(subjects.basis), "subjects": sorted(subjects.pseudonyms)}
    (folder / _FILE).write_text(json.dumps(content), "ascii")


def load_subjects(folder: Path) -> ExportSubjects:
    """Read the subjects of an export; FileNotFoundError where they were erased."""
    content = json.loads((folder / _FILE).read_bytes())
    due = tuple((int(when), subject) for when, subject in content["due"])
    basis = DecisionBasis(content["epoch"], content["number"], due)
    return ExportSubjects(basis, frozenset(content["subjects"]))
