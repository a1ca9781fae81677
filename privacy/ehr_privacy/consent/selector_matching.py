"""Does a rule's selector match a record, and does its actor name the requester?"""

from __future__ import annotations

from collections.abc import Mapping

from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.model import Record, Requester, Value
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

_EQUAL = {
    "author": "author",
    "record_type": "type",
    "record_id": "id",
}


def restriction_matches(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether a restriction's selector matches; in doubt it does.

    A record without a clinical date matches every period, one that names nobody as its author
    every person, and a type that gathers other records every selector: it may repeat just what the
    patient closed. What a record holds inside counts for its domain, and what a third party or a
    reference added counts as what the record itself says.
    """
    if record.type in load_domains().gathering:
        return True
    return (
        row["domain"] in (None, *record.domains)
        and row["label"] in (None, *record.labels)
        and row["episode"] in (None, *record.episodes)
        and (not record.names_author or row["author_person"] in (None, *record.author_people))
        and _equal(row, record)
        and (_meets_period(row, record.clinical_ms, unknown=True) or _added_meet(row, record))
    )


def exception_matches(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether an exception's selector matches; in doubt it does not.

    What a third party or a reference added opens nothing.
    """
    if record.type in load_domains().gathering:
        return all(row[column.name] is None for column in SELECTOR_COLUMNS)
    return (
        (row["domain"] is None or record.is_only_of(row["domain"]))
        and row["label"] in (None, *(record.labels - record.added_labels))
        and row["episode"] in (None, *(record.episodes - record.added_episodes))
        and row["author_person"] in (None, *(record.author_people - record.added_people))
        and _equal(row, record)
        and _meets_period(row, record.clinical_ms, unknown=False)
        and _added_lie_within(row, record)
    )


def actor_matches(row: Mapping[str, Value], requester: Requester) -> bool:
    """Say whether a rule's actor is this requester."""
    kind, value = row["actor_kind"], row["actor_value"]
    if kind == "everyone":
        return True
    if kind == "person":
        return value == requester.person
    if requester.role in ("carer", "patient"):
        return kind == "carer" and value in (None, requester.person)
    if kind == "organization":
        return value is not None and value == requester.organization
    return kind == "profession" and value is not None and value == requester.profession


def _equal(row: Mapping[str, Value], record: Record) -> bool:
    return all(
        row[column] is None or row[column] == getattr(record, attribute)
        for column, attribute in _EQUAL.items()
    )


def _meets_period(row: Mapping[str, Value], at: int | None, *, unknown: bool) -> bool:
    start, end = row["period_from"], row["period_to"]
    if start is None and end is None:
        return True
    if at is None:
        return unknown
    return (start is None or int(start) <= at) and (end is None or at < int(end))


def _added_meet(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether a date that third parties said may lie in the period."""
    start, end, added = row["period_from"], row["period_to"], record.added_dates
    return added is not None and (
        (start is None or int(start) <= added.last_ms)
        and (end is None or added.first_ms < int(end))
    )


def _added_lie_within(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether every date that third parties said lies in the period."""
    added = record.added_dates
    return added is None or all(
        _meets_period(row, at, unknown=False) for at in (added.first_ms, added.last_ms)
    )
