"""Facts of a record as JSON, as the change feed carries them to the lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_privacy.consent.model import RECORD_COLUMNS, Record, read_columns

__all__ = ["record_from_json", "record_to_json"]


def record_to_json(record: Record) -> dict[str, Any]:
    """Return the facts of a record, without its type, id and author; what is empty is left out."""
    columns = zip(RECORD_COLUMNS, record.column_values, strict=True)
    return {
        "patients": sorted(record.patients),
        "labels": sorted(record.labels),
        "added_labels": sorted(record.added_labels),
        **{column.name: value for column, value in columns if value},
    }


def record_from_json(
    facts: Mapping[str, Any], resource_type: str, resource_id: str, author: str | None
) -> Record:
    """Return the record that facts are of; KeyError, TypeError or ValueError if they are none.

    >>> facts = {"patients": ["p"], "labels": ["HIV"], "added_labels": [], "episodes": "|e|"}
    >>> record = record_from_json(facts, "Condition", "c", "hospital-a")
    >>> sorted(record.episodes), record_from_json(record_to_json(record), "Condition", "c",
    ...     "hospital-a") == record
    (['e'], True)
    """
    return Record(
        type=resource_type,
        id=resource_id,
        author=author,
        patients=frozenset(facts["patients"]),
        labels=frozenset(facts["labels"]),
        added_labels=frozenset(facts["added_labels"]),
        **read_columns({column.name: facts.get(column.name) for column in RECORD_COLUMNS}),
    )
