"""The rule tables: the one registry of their names and columns.

The gateway makes its SQL tables from it and the lake its Delta tables. All instants are epoch
milliseconds in UTC; a rule is in force while `since <= now < until`, and `until` null is open.
"""

from __future__ import annotations

from collections.abc import Mapping

from ehr_privacy.consent.model import Column

_SOURCE = (Column("consent", "TEXT", False),)
_PATIENT = (*_SOURCE, Column("patient", "TEXT", False))
_TERM = (Column("since", "INTEGER", False), Column("until", "INTEGER", True))
_ORGANIZATION = (Column("organization", "TEXT", False),)
_PERSON = (Column("person", "TEXT", False),)

# A null selector means "any"; the columns of one row hold together (and), rows are alternatives.
SELECTOR_COLUMNS = (
    Column("domain", "TEXT", True),
    Column("label", "TEXT", True),
    Column("author", "TEXT", True),
    Column("author_person", "TEXT", True),
    Column("episode", "TEXT", True),
    Column("record_type", "TEXT", True),
    Column("record_id", "TEXT", True),
    Column("period_from", "INTEGER", True),
    Column("period_to", "INTEGER", True),
)
_ACTOR = (Column("actor_kind", "TEXT", False), Column("actor_value", "TEXT", True))

TABLES: Mapping[str, tuple[Column, ...]] = {
    "consent_joining": (*_PATIENT, *_TERM),
    "consent_sharing": (*_PATIENT, *_ORGANIZATION, *_TERM),
    "consent_deemed": (*_SOURCE, *_ORGANIZATION, *_TERM),
    "consent_restriction": (
        *_SOURCE,
        Column("rule", "TEXT", False),
        Column("patient", "TEXT", False),
        Column("sealed", "INTEGER", False),
        *_TERM,
        *SELECTOR_COLUMNS,
        *_ACTOR,
    ),
    "consent_exception": (*_SOURCE, Column("rule", "TEXT", False), *SELECTOR_COLUMNS, *_ACTOR),
    "consent_research": (*_PATIENT, *_TERM, Column("permit", "INTEGER", False)),
    "consent_grant": (
        *_PATIENT,
        *_PERSON,
        *_ORGANIZATION,
        Column("domain", "TEXT", False),
        *_TERM,
    ),
    "consent_emergency": (*_PATIENT, *_PERSON, *_ORGANIZATION, *_TERM),
    "consent_carer": (
        *_PATIENT,
        *_PERSON,
        Column("can_view", "INTEGER", False),
        Column("can_manage", "INTEGER", False),
        *_TERM,
    ),
    "consent_hold": (
        *_PATIENT,
        Column("record_type", "TEXT", False),
        Column("record_id", "TEXT", False),
        Column("organization", "TEXT", False),
        *_TERM,
    ),
    # The years in which a carer does not see the labels a minor may keep to himself.
    "consent_minor": (*_PATIENT, *_TERM),
    # Which account a Patient says is the same person's.
    "consent_link": (*_PATIENT, Column("other", "TEXT", False)),
    # Which organisation a person works for, by a PractitionerRole or by an account: whose a record
    # may be that names nobody. Terms are widened to whole days, as they are compared with clinical
    # dates.
    "consent_membership": (
        *_SOURCE,
        Column("practitioner", "TEXT", False),
        *_ORGANIZATION,
        *_TERM,
    ),
}

# The rows of a resource are replaced whole when it changes. Only these tables hold rows of each
# type: ids are unique within a type alone, so `consent` by itself does not say whose row it is.
_OTHER_SOURCES: Mapping[str, tuple[str, ...]] = {
    "Organization": ("consent_deemed",),
    "Patient": ("consent_minor", "consent_link"),
    "PractitionerRole": ("consent_membership",),
}
SOURCE_TABLES: Mapping[str, tuple[str, ...]] = {
    "Consent": tuple(
        name for name in TABLES if not any(name in tables for tables in _OTHER_SOURCES.values())
    ),
    **_OTHER_SOURCES,
}
