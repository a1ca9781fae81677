"""Visits out of encounters: what is a part of another one is a detail of its visit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_etl.omop.fhir_values import Moment
from ehr_etl.omop.person_rows import SourceRecord

__all__ = ["Visit", "find_top_visit"]


@dataclass(frozen=True)
class Visit:
    """An encounter that took place: its record, its begin, and the encounter it is a part of."""

    record: SourceRecord
    start: Moment
    end: Moment | None
    parent: str | None


def find_top_visit(name: str, visits: Mapping[str, Visit]) -> str:
    """Return the encounter that one is, in the end, a part of; itself where they form a ring."""
    seen = [name]
    while (parent := visits[seen[-1]].parent) is not None and parent in visits:
        if parent in seen:
            return min(seen[seen.index(parent) :])
        seen.append(parent)
    return seen[-1]
