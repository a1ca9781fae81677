"""Tables of bulk exports and imports: what was asked for and what came of it, never a record.

A file's lines are read when it is fetched, so nothing of a record is kept here. A request may name
patients and hold search criteria; it is kept until the export ends.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

Table(
    "bulk_export",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # Whose it is: log-in, client, organisation and patient of the token, as JSON.
    Column("owner", TEXT, nullable=False),
    Column("started_ms", INTEGER, nullable=False),
    Column("expires_ms", INTEGER, nullable=False),
    # The last position of the feed that it holds: what `_since` at `started_ms` begins after.
    Column("position", INTEGER, nullable=False),
    # The kick-off as JSON; null once the export was cancelled or has expired.
    Column("request", TEXT),
    # Where the search for its files goes on, as JSON; null when all are found.
    Column("progress", TEXT),
    Index("bulk_export_owner", "owner", "started_ms"),
)

Table(
    "bulk_export_file",
    METADATA,
    Column("export", TEXT, primary_key=True),
    Column("number", INTEGER, primary_key=True),
    # Which lines it has, as JSON: positions of the feed, or places in a list of patients.
    Column("slice", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "bulk_import",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # Whose it is, as of an export.
    Column("owner", TEXT, nullable=False),
    Column("started_ms", INTEGER, nullable=False),
    Column("expires_ms", INTEGER, nullable=False),
    # receiving, waiting, running, completed or failed
    Column("state", TEXT, nullable=False),
    # The kick-off as JSON.
    Column("request", TEXT, nullable=False),
    # How far it is, as JSON: numbers alone.
    Column("progress", TEXT, nullable=False),
    # How often it was begun: a process that is killed leaves it to the next one.
    Column("attempts", INTEGER, nullable=False),
    # Why it failed, in words of the platform.
    Column("fault", TEXT, nullable=False),
    Index("bulk_import_owner", "owner"),
)

Table(
    "bulk_import_fault",
    METADATA,
    Column("job", TEXT, primary_key=True),
    Column("number", INTEGER, primary_key=True),
    # The input's number, and the line in it; 0 is the file as a whole.
    Column("input", INTEGER, nullable=False),
    Column("line", INTEGER, nullable=False),
    # Why the line is refused: words of the platform, without a value or an id.
    Column("reason", TEXT, nullable=False),
    sqlite_with_rowid=False,
)
