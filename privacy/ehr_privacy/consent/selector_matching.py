"""Does a rule's selector match a record, and does its actor name the requester?"""

from __future__ import annotations

from collections.abc import Mapping

from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.model import Record, Requester, Value
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

_EQUAL = {
    "author": "author",
    "episode": "episode",
    "record_type": "type",
    "record_id": "id",
}


def restriction_matches(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether a restriction's selector matches; in doubt it does.

    A record without a clinical date matches every period, one that names nobody as its author
    every person, and a type that gathers other records every selector: it may repeat just what the
    patient closed. What a record holds inside counts for its domain.
    """
    if record.type in load_domains().gathering:
        return True
    in_domain = row["domain"] is None or row["domain"] in record.domains
    by_person = not record.author_people or row["author_person"] in (None, *record.author_people)
    return in_domain and by_person and _equal(row, record) and _in_period(row, record, unknown=True)


def exception_matches(row: Mapping[str, Value], record: Record) -> bool:
    """Say whether an exception's selector matches; in doubt it does not."""
    if record.type in load_domains().gathering:
        return all(row[column.name] is None for column in SELECTOR_COLUMNS)
    in_domain = row["domain"] is None or record.is_only_of(row["domain"])
    by_person = row["author_person"] in (None, *record.author_people)
    return (
        in_domain and by_person and _equal(row, record) and _in_period(row, record, unknown=False)
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
    return (row["label"] is None or row["label"] in record.labels) and all(
        row[column] is None or row[column] == getattr(record, attribute)
        for column, attribute in _EQUAL.items()
    )


def _in_period(row: Mapping[str, Value], record: Record, *, unknown: bool) -> bool:
    start, end, at = row["period_from"], row["period_to"], record.clinical_ms
    if start is None and end is None:
        return True
    if at is None:
        return unknown
    return (start is None or int(start) <= at) and (end is None or at < int(end))
