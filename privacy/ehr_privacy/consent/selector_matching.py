"""Does a rule's selector match a record, and does its actor name the requester?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ehr_privacy.consent.absent_facts import (
    PEOPLE,
    types_without_author,
    types_without_date,
)
from ehr_privacy.consent.domain_rules import load_domains
from ehr_privacy.consent.model import Record, Requester, Value
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

# Rows of consent_membership by Practitioner and organisation.
Memberships = Callable[[str, str], Iterable[Mapping[str, Value]]]

# The selectors that are about care that was given.
_OF_CARE = ("author", "author_person", "episode", "period_from", "period_to")
_EQUAL = {
    "author": "author",
    "record_type": "type",
    "record_id": "id",
}


def restriction_matches(row: Mapping[str, Value], record: Record, memberships: Memberships) -> bool:
    """Say whether a restriction's selector matches; in doubt it does.

    A record without a clinical date matches every period, and one that names nobody as its author
    every person who belongs to the organisation that wrote it, unless its type bears no such fact.
    A type that gathers other records matches every selector: it may repeat just what the patient
    closed. What a record holds inside counts for its domain, and what a third party or a reference
    added counts as what the record itself says. `memberships` gives the rows of consent_membership
    of a Practitioner in an organisation.
    """
    if record.type in load_domains().gathering:
        return True
    # Who somebody is, no rule about care that was given hides.
    if record.type in PEOPLE and not record.inner_domains:
        if any(row[name] is not None for name in _OF_CARE):
            return False
    return (
        row["domain"] in (None, *record.domains)
        and row["label"] in (None, *record.labels)
        and row["episode"] in (None, *record.episodes)
        and _may_be_by(row["author_person"], record, memberships)
        and _equal(row, record)
        and (_may_lie_within(row, record) or _added_meet(row, record))
    )


def _may_be_by(person: Value, record: Record, memberships: Memberships) -> bool:
    if person is None or person in record.author_people:
        return True
    if record.names_author or record.author is None:
        return False
    if record.type in types_without_author() and not record.inner_domains:
        return False
    return any(_covers(row, record) for row in memberships(str(person), record.author))


def _covers(membership: Mapping[str, Value], record: Record) -> bool:
    """Say whether a membership held when the record was made, as far as that is known."""
    at, until = record.clinical_ms, membership["until"]
    if at is None or record.added_dates is not None:
        return True
    return int(membership["since"] or 0) <= at and (until is None or at < int(until))


def _may_lie_within(row: Mapping[str, Value], record: Record) -> bool:
    bears_date = record.type not in types_without_date() or bool(record.inner_domains)
    return _meets_period(row, record.clinical_ms, unknown=bears_date)


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
