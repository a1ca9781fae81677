"""Tables of the audit log: one row per request and patient whose records it disclosed or changed.

A row is leaf `seq` - 1 of a Merkle tree. Its leaf hash commits to CONTENT_COLUMNS with a random
salt: once content and salt are erased, the hash says nothing, and all proofs still verify.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, MetaData, Table, text

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

# The columns that a leaf hash commits to, in this order for ever: with a column more, no leaf
# written before would verify.
CONTENT_COLUMNS = (
    "id", "at_ms", "request_id", "login", "display", "role", "organization", "purpose", "client",
    "address", "interaction", "patient", "entities", "domains", "query", "outcome", "reason",
    "consent",
)  # fmt: skip

_MODEL_DECISIONS = text("interaction = 'model-decision'")

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", INTEGER, primary_key=True, autoincrement=True),
    # The public id. Random, since `seq` would tell how many events other people caused.
    Column("id", TEXT, nullable=False, unique=True),
    Column("at_ms", INTEGER, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("purpose", TEXT, nullable=False),
    Column("client", TEXT, nullable=False),
    # The network address the request came from.
    Column("address", TEXT),
    Column("interaction", TEXT, nullable=False),
    Column("patient", TEXT),
    # A JSON list of "Type/id": references, never values.
    Column("entities", TEXT, nullable=False),
    # The data domains of the records disclosed, with a space between them.
    Column("domains", TEXT, nullable=False),
    # The resource type or path, and the names of the parameters, never their values.
    Column("query", TEXT),
    Column("outcome", TEXT, nullable=False),
    # The rule of the consent table that permitted the access, or why it was refused.
    Column("reason", TEXT),
    # The id of the Consent of the grant or emergency access that permitted it.
    Column("consent", TEXT),
    # Empty once the row's content is erased.
    Column("salt", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    # Ordered by time, not by `seq`: events of reads enter later than those of writes, from a spool.
    # With the log-in, to pass over the patient's own events without reading their rows.
    Index("audit_patient", "patient", "at_ms", "seq", "login"),
    Index("audit_login", "login", "at_ms", "seq"),
    Index("audit_at", "at_ms", "seq"),
    # Whether a model may still score is asked with every request that it scores: few rows of many.
    Index(
        "audit_model_decision",
        "seq",
        sqlite_where=_MODEL_DECISIONS,
        postgresql_where=_MODEL_DECISIONS,
    ),
    sqlite_autoincrement=True,
)
# Row 1 has the log's size on PostgreSQL, which numbers leaves by it: a sequence leaves gaps after
# rollbacks, and a Merkle tree has none. Row 2 means nothing: a checkpoint updates it, for a durable
# commit that also puts earlier commits on disk.
AUDIT_HEAD = Table(
    "audit_head",
    METADATA,
    Column("one", INTEGER, primary_key=True, autoincrement=False),
    Column("size", INTEGER, nullable=False),
)
# People who were counted together with many others, each with a number for ever. The salted leaf is
# what the log's row commits to; erasing a person empties name and salt, and keeps number and leaf.
AUDIT_PERSON = Table(
    "audit_person",
    METADATA,
    Column("number", INTEGER, primary_key=True, autoincrement=True),
    Column("patient", TEXT, unique=True),
    Column("since_ms", INTEGER, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
# Whom one row of the log counted: of each block of numbers a bitmap, the lowest number first.
AUDIT_COUNTED = Table(
    "audit_counted",
    METADATA,
    Column("block", INTEGER, primary_key=True, autoincrement=False),
    # The id of the row in `audit`.
    Column("event", TEXT, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
    Index("audit_counted_event", "event", "block"),
)
# Who was on a list of patients that one row of the log is about, and what the list showed of them.
# A row of its own for each: a bitmap would have to be looked through for every list of a year.
AUDIT_LISTED = Table(
    "audit_listed",
    METADATA,
    # The id of the row in `audit`.
    Column("event", TEXT, primary_key=True),
    # The number of AUDIT_PERSON.
    Column("person", INTEGER, primary_key=True, autoincrement=False),
    # That of the row, so that one index finds a patient's newest.
    Column("at_ms", INTEGER, nullable=False),
    # Of this patient alone, as in `audit`.
    Column("domains", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Index("audit_listed_person", "person", "at_ms"),
)
# The worklist of unusual access, for stewards. A row is a reason to ask, not an accusation.
AUDIT_FLAG = Table(
    "audit_flag",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # The rule and what it was about: the same finding again updates its row.
    Column("flag_key", TEXT, nullable=False, unique=True),
    Column("rule", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("patient", TEXT),
    Column("since_ms", INTEGER, nullable=False),
    Column("until_ms", INTEGER, nullable=False),
    # How many events the rule counted.
    Column("number", INTEGER, nullable=False),
    Column("found_ms", INTEGER, nullable=False),
    # "open" or "settled".
    Column("state", TEXT, nullable=False),
    Column("verdict", TEXT),
    Column("note", TEXT),
    Column("settled_by", TEXT),
    Column("settled_ms", INTEGER),
    Index("audit_flag_state", "state", "found_ms"),
)

# What a list's row has as its `query`: the operation that shows a list.
LIST_QUERY = "Patient/$patient-list"
_OF_ENTRY = {"at_ms": "l.at_ms", "patient": "p.patient", "domains": "l.domains",
             "reason": "l.reason"}  # fmt: skip
_NAMES = ", ".join(("seq", *CONTENT_COLUMNS))
_LISTED_COLUMNS = ", ".join(
    f"{_OF_ENTRY.get(name, f'a.{name}')} AS {name}" for name in CONTENT_COLUMNS
)
_SELECT_LISTED = (
    f"SELECT a.seq AS seq, {_LISTED_COLUMNS} FROM audit_listed l"  # noqa: S608 constant columns
    " JOIN audit_person p ON p.number = l.person JOIN audit a ON a.id = l.event"
)
# For FROM: a row for each patient of each list (`audit_log/listed_patients.py`), of the columns of
# `audit`; and these with all rows of the log.
LISTED_ROWS = f"({_SELECT_LISTED}) AS listed_rows"
ALL_ROWS = f"(SELECT {_NAMES} FROM audit UNION ALL {_SELECT_LISTED}) AS all_rows"  # noqa: S608
