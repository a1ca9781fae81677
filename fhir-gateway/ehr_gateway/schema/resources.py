"""Tables of the store: versions of resources, search indexes, consent rules and settings.

A row of `resource` is one version, and its `position` in the change feed rises with every version
written. The current version of a resource keeps its row, and so its `pk`, for ever: an update moves
the version before into a row of its own, and writes only the index rows that differ. Index tables
have rows of current versions only, and their primary keys begin with the values that searches
compare. The consent rule tables are declared in `ehr_privacy.consent`.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Column, Float, Index, LargeBinary, MetaData, Table, text
from sqlalchemy.types import TypeEngine

from ehr_gateway.database.tables import INTEGER, TEXT
from ehr_privacy.consent import RECORD_COLUMNS, TABLES

__all__ = ["INDEX_COLUMNS", "METADATA", "index_column_type"]

METADATA = MetaData()

_CURRENT = text("current = 1")
# Of a column that was added to rows that were there.
_NO = text("0")
_DEFAULTS = {"clinical_consent": _NO}

RESOURCE = Table(
    "resource",
    METADATA,
    Column("pk", INTEGER, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("version", INTEGER, nullable=False),
    # 1 for the newest version of a resource. 1 in `deleted` if that version is a deletion.
    Column("current", INTEGER, nullable=False),
    Column("deleted", INTEGER, nullable=False),
    # meta.lastUpdated, in milliseconds since 1970.
    Column("last_updated", INTEGER, nullable=False),
    # The HTTP method that made it, as history Bundles name it.
    Column("method", TEXT, nullable=False),
    # The organisation that the record belongs to.
    Column("author", TEXT),
    # The facts in force by which consent is decided (`ehr_privacy.consent.Record`).
    *(
        Column(
            column.name,
            INTEGER if column.type == "INTEGER" else TEXT,
            nullable=column.nullable,
            server_default=_DEFAULTS.get(column.name),
        )
        for column in RECORD_COLUMNS
    ),
    # The JSON as served; empty for a deletion.
    Column("body", LargeBinary, nullable=False),
    Column("position", INTEGER, nullable=False, server_default=_NO),
    # With `current`, since an update copies a row before it changes it.
    Index("resource_version", "type", "id", "version", "current", unique=True),
    Index(
        "resource_current", "type", "id", unique=True,
        sqlite_where=_CURRENT, postgresql_where=_CURRENT,
    ),
    Index(
        "resource_recent", "type", "last_updated", "id",
        sqlite_where=_CURRENT, postgresql_where=_CURRENT,
    ),
    # For the history of a type. Its condition, always true, keeps it out of other queries' plans.
    Index(
        "resource_history", "type", "position",
        sqlite_where=text("version > 0"), postgresql_where=text("version > 0"),
    ),
    Index("resource_position", "position", "current", unique=True),
    sqlite_autoincrement=True,
)  # fmt: skip

# The value columns of each index table, in the order of the rows that `ehr_fhir.index` extracts.
# `slot` numbers the repeating element that a component of a composite parameter comes from, else 0:
# components match together only within one element.
INDEX_COLUMNS: dict[str, tuple[str, ...]] = {
    "date": ("low", "high", "slot"),
    "number": ("low", "high", "slot"),
    "position": ("x", "y", "z", "slot"),
    "quantity": ("low", "high", "system", "code", "unit", "slot"),
    "reference": ("target_type", "target_id", "slot"),
    "string": ("normal", "exact", "slot"),
    "token": ("system", "code", "slot"),
    "uri": ("value", "slot"),
}
# The primary key of each index table, which is the order of its rows on disk in SQLite.
_INDEX_KEYS = {
    "date": ("param", "low", "high", "pk", "slot"),
    "number": ("param", "low", "high", "pk", "slot"),
    "position": ("param", "x", "y", "z", "pk", "slot"),
    "quantity": ("param", "low", "high", "system", "code", "unit", "pk", "slot"),
    "reference": ("param", "target_id", "target_type", "pk", "slot"),
    "string": ("param", "normal", "exact", "pk", "slot"),
    "token": ("param", "code", "system", "pk", "slot"),
    "uri": ("param", "value", "pk", "slot"),
}


def index_column_type(kind: str, column: str) -> Literal["integer", "real", "text"]:
    """Return the type of a column of an index table."""
    if column in ("param", "pk", "slot"):
        return "integer"
    if column in ("low", "high", "x", "y", "z"):
        return "integer" if kind == "date" else "real"
    return "text"


_TYPES: dict[str, TypeEngine[Any]] = {"integer": INTEGER, "real": Float(53), "text": TEXT}

for _kind, _key in _INDEX_KEYS.items():
    Table(
        f"idx_{_kind}",
        METADATA,
        *(Column(name, _TYPES[index_column_type(_kind, name)], primary_key=True) for name in _key),
        # From a resource to its values, for `_has` and `_sort`. New rows come last, so inserts
        # into it stay cheap.
        Index(f"idx_{_kind}_resource", "pk", "param"),
        sqlite_with_rowid=False,
    )

# The patients that a version is about, and its sensitivity labels: consent is decided by both.
for _name, _value in (("record_patient", "patient"), ("record_label", "label")):
    _table = Table(
        _name,
        METADATA,
        Column("pk", INTEGER, primary_key=True, autoincrement=False),
        Column(_value, TEXT, primary_key=True),
        Index(f"{_name}_{_value}", _value, "pk"),
        sqlite_with_rowid=False,
    )
    if _name == "record_label":
        # 1 for a label that a third party or a reference added: it closes and never opens.
        _table.append_column(Column("added", INTEGER, nullable=False, server_default=_NO))
# The facts of a resource that do not follow from its newest version
# (`ehr_privacy.consent.held_facts`); those in force stand in the rows of its current version.
Table(
    "held_fact",
    METADATA,
    Column("type", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    # One of `ehr_privacy.consent.held_facts.KINDS`.
    Column("kind", TEXT, primary_key=True),
    Column("value", TEXT, primary_key=True),
    # update, author, patient, steward, steward-not, or the record that it is inherited from.
    Column("source", TEXT, primary_key=True),
    sqlite_with_rowid=False,
)

# What decides about research that changed without a version: rules of a patient, facts of a record
# (`store.decision_changes`). The numbers rise in the order of commit.
Table(
    "decision_change",
    METADATA,
    # One of: rules, facts, quality (what a steward decided of a version with faults).
    Column("kind", TEXT, primary_key=True),
    Column("type", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("number", INTEGER, nullable=False),
    Index("decision_change_number", "number", unique=True),
    sqlite_with_rowid=False,
)

# The newest versions in which the lake found faults of quality: the rules they break, and the paths
# of the elements that show it, never a value. The lake tells them; a steward decides.
Table(
    "quality_finding",
    METADATA,
    Column("type", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("version", INTEGER, nullable=False),
    # error (the version is held back) or warning.
    Column("severity", TEXT, nullable=False),
    # JSON lists.
    Column("rules", TEXT, nullable=False),
    Column("elements", TEXT, nullable=False),
    # When a fault of the record was told first.
    Column("found_ms", INTEGER, nullable=False),
    Index("quality_finding_found", "found_ms", "type", "id"),
    sqlite_with_rowid=False,
)

# What stewards decided of such versions, and why. The newest of a version holds; the feed tells it.
Table(
    "quality_decision",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("logical_id", TEXT, nullable=False),
    Column("version", INTEGER, nullable=False),
    # One of: release, reject, send-back.
    Column("decision", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("person", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("decided_ms", INTEGER, nullable=False),
    Index("quality_decision_record", "type", "logical_id", "version", "decided_ms"),
)

# The numbers of search parameters, which index rows have in place of their codes.
Table(
    "search_parameter",
    METADATA,
    Column("param", INTEGER, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("code", TEXT, nullable=False),
)
# Search parameters that the installation added, and how far older resources are indexed by them.
Table(
    "added_parameter",
    METADATA,
    Column("param", INTEGER, primary_key=True, autoincrement=False),
    # The id of the SearchParameter resource.
    Column("source", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("code", TEXT, nullable=False),
    Column("definition", TEXT, nullable=False),
    # One of: indexing, ready, removing.
    Column("state", TEXT, nullable=False),
    # The last position in the feed indexed, and how many resources of how many that is.
    Column("position", INTEGER, nullable=False),
    Column("done", INTEGER, nullable=False),
    Column("total", INTEGER, nullable=False),
)
# Settings of the store itself, such as its id and epoch. An operator's are in `ehr.toml`.
Table(
    "setting",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
# What bulk loads wrote, with a digest of the input: the same file loaded again changes nothing.
Table(
    "load_ledger",
    METADATA,
    Column("type", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What Consents ever opened: step-up grants and emergencies, by Consent, patient and organisation,
# and the powers of carers, by Consent, patient and person (in the column `organization`).
# What ended (`ended_ms`) gives no rule rows again (`store.grant_endings`).
Table(
    "consent_opening",
    METADATA,
    Column("consent", TEXT, primary_key=True),
    Column("patient", TEXT, primary_key=True),
    Column("organization", TEXT, primary_key=True),
    # The table of its rule rows: consent_grant, consent_emergency or consent_carer.
    Column("kind", TEXT, nullable=False),
    # The position in the feed from which on it was given.
    Column("position", INTEGER, nullable=False),
    Column("ended_ms", INTEGER),
    Index("consent_opening_patient", "patient", "organization"),
    sqlite_with_rowid=False,
)

for _name, _columns in TABLES.items():
    _table = Table(
        _name,
        METADATA,
        *(
            Column(column.name, INTEGER if column.type == "INTEGER" else TEXT,
                   nullable=column.nullable)
            for column in _columns
        ),
    )  # fmt: skip
    Index(f"{_name}_consent", _table.c.consent)
    if "other" in _table.c:
        Index(f"{_name}_other", _table.c.other)
    if _name == "consent_restriction":
        Index(f"{_name}_patient", _table.c.patient)
    elif "patient" in _table.c:
        # A covering index: the consent predicate looks here once for every record of a search.
        _covered = [column for column in _table.c if column.name not in ("patient", "consent")]
        Index(f"{_name}_patient", _table.c.patient, *_covered)
    elif _name == "consent_membership":
        # What the consent predicate asks of it.
        _person = (_table.c.practitioner, _table.c.organization)
        Index(f"{_name}_practitioner", *_person, _table.c.since, _table.c.until)
    elif "organization" in _table.c:
        Index(f"{_name}_organization", _table.c.organization)
    if _name == "consent_restriction":
        # Whose records a person's membership may concern; few restrictions name a person.
        _named = _table.c.author_person.isnot(None)
        Index(
            f"{_name}_author_person", _table.c.author_person, _table.c.patient,
            sqlite_where=_named, postgresql_where=_named,
        )  # fmt: skip
