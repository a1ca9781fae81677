"""Tables of access requests: who requested what, the decision, and the steward's review."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

# One row per request for access beyond what sharing consents permit. The reasons that clinicians
# type are kept here alone: they may describe a patient, so no log has them.
ACCESS_REQUEST = Table(
    "access_request",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # One of: step-up, emergency, hold, carer, substitute; identity (a proposed change of by what a
    # person is recognised), correction (a steward's, of a record), and correction-request (a
    # patient's).
    Column("kind", TEXT, nullable=False),
    # One of: proposed, active, refused, expired, ended; of a correction request: requested,
    # accepted, refused.
    Column("state", TEXT, nullable=False),
    # The id of the Consent that carries the request or its outcome.
    Column("consent", TEXT),
    Column("patient", TEXT, nullable=False),
    # Who requested: their id, display name, organisation and profession.
    Column("person", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("profession", TEXT),
    Column("reason", TEXT, nullable=False),
    # A JSON list of the data domains requested; for a carer, of those withheld from them.
    Column("domains", TEXT, nullable=False),
    # A JSON object of what only this kind has: a carer's power, the record of a hold, the version
    # that is proposed (until it is decided).
    Column("details", TEXT, nullable=False),
    # The length of the access requested.
    Column("hours", INTEGER, nullable=False),
    # Wrong codes entered so far; the request stops taking codes at a limit.
    Column("tries", INTEGER, nullable=False),
    Column("asked_ms", INTEGER, nullable=False),
    # The last instant for a decision, and the end of the access that was given.
    Column("expires_ms", INTEGER, nullable=False),
    Column("until_ms", INTEGER),
    Column("decided_ms", INTEGER),
    Column("decided_by", TEXT),
    # The hash of an invitation's code. A step-up's code is computed when needed, never stored.
    Column("code", TEXT),
    # The steward's review: "justified" or "not-justified", a note, who and when.
    Column("review", TEXT),
    Column("review_note", TEXT),
    Column("reviewer", TEXT),
    Column("reviewed_ms", INTEGER),
    Index("access_request_patient", "patient", "kind", "asked_ms"),
    Index("access_request_person", "person", "organization", "kind", "asked_ms"),
    Index("access_request_code", "code", unique=True),
    Index("access_request_consent", "consent"),
)
# One row per identity number entered for emergency access, whether or not a patient has it. The
# rate limit counts them, so that nobody finds out who is a patient by trying numbers.
ACCESS_ATTEMPT = Table(
    "access_attempt",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("person", TEXT, nullable=False),
    Column("organization", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    Index("access_attempt_person", "person", "organization", "at_ms"),
)

# Two Patients that may be one person's, by what they say; what a steward made of it. Their ids are
# in order, so that a pair is one row.
Table(
    "duplicate_candidate",
    METADATA,
    Column("first", TEXT, primary_key=True),
    Column("second", TEXT, primary_key=True),
    # The probability, in millionths.
    Column("score", INTEGER, nullable=False),
    # A JSON object: element -> how it agrees. No value of a Patient.
    Column("levels", TEXT, nullable=False),
    Column("found_ms", INTEGER, nullable=False),
    # open, later or different.
    Column("state", TEXT, nullable=False),
    # Who put it off or said that they are two people, when and why.
    Column("person", TEXT),
    Column("display", TEXT),
    Column("reason", TEXT),
    Column("decided_ms", INTEGER),
    Index("duplicate_candidate_second", "second"),
    Index("duplicate_candidate_score", "state", "score"),
    sqlite_with_rowid=False,
)
