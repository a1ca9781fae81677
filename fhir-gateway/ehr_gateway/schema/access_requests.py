"""The table of requests: who asked for what, what came of it, and what the steward found."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

# One row a request for access beyond sharing. Typed reasons stand here and in no log.
ACCESS_REQUEST = Table(
    "access_request",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # step-up, emergency, hold or carer
    Column("kind", TEXT, nullable=False),
    # proposed, active, refused, expired, ended
    Column("state", TEXT, nullable=False),
    Column("consent", TEXT),
    Column("patient", TEXT, nullable=False),
    Column("person", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("profession", TEXT),
    Column("reason", TEXT, nullable=False),
    # A JSON list of domains; of carers, those that stay closed to them.
    Column("domains", TEXT, nullable=False),
    # What the kind alone has: powers of a carer, the record of a hold, as JSON.
    Column("details", TEXT, nullable=False),
    Column("hours", INTEGER, nullable=False),
    Column("tries", INTEGER, nullable=False),
    Column("asked_ms", INTEGER, nullable=False),
    # Until when it may be answered, and until when what came of it holds.
    Column("expires_ms", INTEGER, nullable=False),
    Column("until_ms", INTEGER),
    Column("decided_ms", INTEGER),
    Column("decided_by", TEXT),
    # An invitation's code, hashed; a step-up's code is worked out and stored nowhere.
    Column("code", TEXT),
    # The steward's review: justified or not-justified, with a note.
    Column("review", TEXT),
    Column("review_note", TEXT),
    Column("reviewer", TEXT),
    Column("reviewed_ms", INTEGER),
    Index("access_request_patient", "patient", "kind", "asked_ms"),
    Index("access_request_person", "person", "organization", "kind", "asked_ms"),
    Index("access_request_code", "code", unique=True),
    Index("access_request_consent", "consent"),
)
# Identity numbers tried in emergencies, found or not: so that nobody tries many.
ACCESS_ATTEMPT = Table(
    "access_attempt",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("person", TEXT, nullable=False),
    Column("organization", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    Index("access_attempt_person", "person", "organization", "at_ms"),
)
