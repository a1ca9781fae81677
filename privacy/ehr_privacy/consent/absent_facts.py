"""Types that cannot bear a fact at all, so that its absence leaves nothing in doubt.

A restriction by period or by author holds in doubt: for a record that could say its date or who
made it and does not. A type that has no element for it is not in doubt. People (Patient, Person,
RelatedPerson) are never matched: their dates and practitioners tell nothing of care that was given,
and hiding who somebody is would leave a chart without a name.
"""

from __future__ import annotations

from functools import cache

from ehr_fhir.definitions import json_elements, reference_targets, resource_types
from ehr_privacy.consent.domain_rules import load_domains

__all__ = ["PEOPLE", "types_without_author", "types_without_date"]

PEOPLE = frozenset({"Patient", "Person", "RelatedPerson"})
_DATES = frozenset({"date", "dateTime", "instant", "Period", "Timing"})
_AUTHORS = frozenset({"Practitioner", "PractitionerRole"})


@cache
def types_without_date() -> frozenset[str]:
    """Return the types of records about patients that have no element for a date.

    >>> sorted(types_without_date() & {"Patient", "Observation", "BodyStructure"})
    ['BodyStructure', 'Patient']
    """
    return PEOPLE | {kind for kind in _record_types() if not _has_date(kind)}


@cache
def types_without_author() -> frozenset[str]:
    """Return the types of records about patients that have no element for a practitioner.

    >>> sorted(types_without_author() & {"Patient", "Observation", "Coverage"})
    ['Coverage', 'Patient']
    """
    return PEOPLE | {kind for kind in _record_types() if not _refers_to(kind, _AUTHORS)}


def _record_types() -> frozenset[str]:
    rules = load_domains()
    # Holders may repeat a record that has the fact. Who names no patient has no such rule.
    types = resource_types() - rules.directory - rules.gathering - {"Parameters", "Basic"}
    return frozenset(kind for kind in types if _refers_to(kind, frozenset({"Patient"})))


def _has_date(owner: str) -> bool:
    return any(
        element.type in _DATES or (element.type.startswith(f"{owner}.") and _has_date(element.type))
        for element in json_elements(owner).values()
    )


def _refers_to(owner: str, types: frozenset[str]) -> bool:
    """Say whether an element of a type, or of its parts, can name a resource of some types."""
    for element in json_elements(owner).values():
        if element.type == "Reference":
            targets = reference_targets(owner, element.name)
            if targets is None or targets & types:
                return True
        elif element.type.startswith(f"{owner}.") and _refers_to(element.type, types):
            return True
    return False
