"""The store: the records of one installation in an SQLite file or a PostgreSQL database.

It lends connections inside transactions; `transaction/` and `interactions/` say what is done in
them.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import (
    DATABASE_ERRORS,
    Connection,
    Dialect,
    Row,
    SqliteDatabase,
    open_database,
)
from ehr_gateway.incidents import Incidents
from ehr_gateway.journal.journal import Journal, open_journal
from ehr_gateway.schema.revision import open_schema
from ehr_gateway.store import relabel
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.decision_changes import (
    DecisionChange,
    last_decision_change,
    list_changed_subjects,
    list_decision_changes,
)
from ehr_gateway.store.disclosure import Disclosure
from ehr_gateway.store.epoch import StoreEpoch, ensure_epoch, load_epoch
from ehr_gateway.store.parameter_ids import register_parameters
from ehr_gateway.store.search_registry import SearchRegistry, load_registry
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns
from ehr_privacy.consent import Record

__all__ = ["AuditHook", "FeedEntry", "FeedPage", "Store", "Version"]


@dataclass(frozen=True)
class Version:
    """One version of a resource, with the bytes that are served.

    `pk` is the key of its row; the next version takes that row over.
    """

    pk: int
    type: str
    id: str
    version: int
    last_updated_ms: int
    deleted: bool
    body: bytes
    method: str = "PUT"
    # The organisation that the record belongs to.
    author: str | None = None
    # Where it stands in the change feed; no other version has or gets it.
    position: int = 0
    # The facts in force, where they were read with it.
    facts: StoredFacts | None = field(default=None, compare=False, repr=False)
    # What a read with `Disclosure.columns` tells of it.
    disclosure_read: Disclosure | None = field(default=None, compare=False, repr=False)

    @property
    def disclosure(self) -> Disclosure | None:
        """What the audit log has to know of it, where it was read or written with that."""
        if self.disclosure_read is None and self.facts is not None:
            return Disclosure.of_record(self.facts.record)
        return self.disclosure_read

    @classmethod
    def from_row(cls, row: Row, *, has_disclosure: bool = False) -> Version:
        """Build a version from a row of `resource`, maybe with `Disclosure.columns`."""
        return cls(
            row["pk"], row["type"], row["id"], row["version"], row["last_updated"],
            bool(row["deleted"]), row["body"], row["method"], row["author"], row["position"],
            disclosure_read=Disclosure.from_row(row) if has_disclosure else None,
        )  # fmt: skip


@dataclass(frozen=True)
class FeedEntry:
    """One change of the feed; positions rise in the order of commit."""

    position: int
    version: Version
    author: str | None
    # The facts in force of a current version; of an older one, those of when it was current.
    record: Record


@dataclass(frozen=True)
class FeedPage:
    """A page of the feed, read at one instant: versions, and decisions once no version is left."""

    entries: tuple[FeedEntry, ...]
    decisions: tuple[DecisionChange, ...]
    # Whether nothing came after it at that instant.
    is_last: bool


# Bytes of versions on one page of the feed, but at least one version. Chosen: a page is held in
# memory as a whole at both ends.
_PAGE_BYTES = 16 * 2**20
# Patients whose changes are told one by one. Chosen: above, some are on almost every list.
_MOST_CHANGED_PATIENTS = 200
# Chosen: a lake that follows is behind by a few; each is looked up in a query over the lake.
_MOST_SUBJECTS = 5000
# Called inside a write's transaction, for what patients and stewards are told of.
TellConsequence = Callable[[Connection, Consequence], None]
# Called inside a write's transaction with a patient's id: whether that patient was erased.
IsErased = Callable[[Connection, str], bool]
# Called inside a write's transaction just before its commit, with what it wrote and opened.
AuditHook = Callable[[Connection, Sequence[Version], Sequence[Consequence]], None]


class Store:
    """The records of one installation; safe to share between threads."""

    def __init__(self, location: Path | str, folder: Path | None = None) -> None:
        """Open an SQLite file or the database of a PostgreSQL URL.

        `folder` holds the temporary files of a load; by default the folder of the SQLite file.
        """
        self.database = open_database(location)
        default = location.parent if isinstance(location, Path) else Path(tempfile.gettempdir())
        self.folder = folder or default
        self._registry: SearchRegistry | None = None
        self.journal: Journal | None = None
        # A gateway sets it; without one nobody is told.
        self.tell_consequence: TellConsequence = _tell_nobody
        # A gateway sets it; without one no id is known to be an erased patient's.
        self.is_erased: IsErased = _is_nobody_erased
        try:
            open_schema(self.database)
        except BaseException:
            # Refused: an upgrade would find it in use as long as this were open.
            self.database.close()
            raise
        with self.write_transaction() as connection:
            self.parameter_ids = register_parameters(connection)
            relabel.mark_empty_store_labelled(connection)
            ensure_epoch(connection)
            connection.execute(
                "INSERT INTO setting VALUES ('cursor-key', ?) ON CONFLICT DO NOTHING",
                (secrets.token_bytes(32),),
            )
        with self.read_transaction() as connection:
            row = connection.execute("SELECT value FROM setting WHERE name = 'cursor-key'")
            self.cursor_key: bytes = row.fetchone()["value"]

    def attach_journal(self, folder: Path, keys: Path) -> None:
        """Open the store's journal in a folder, with its key from another.

        Only tests and readers use a store without a journal.
        """
        epoch = self.epoch()
        self.journal = open_journal(folder, keys, epoch.store, epoch.epoch, self.database)

    def resolve_journal(self) -> None:
        """Resolve the journal's entries in doubt, if the store has a journal."""
        if self.journal is not None:
            self.journal.resolve()

    def epoch(self) -> StoreEpoch:
        """Return which store this is and which past it continues."""
        with self.read_transaction() as connection:
            return load_epoch(connection)

    def registry(self, connection: Connection) -> SearchRegistry:
        """Return the search parameters as a transaction sees them, added ones included."""
        # Not read back from the attribute: another thread may have replaced it meanwhile.
        self._registry = registry = load_registry(connection, self._registry, self.parameter_ids)
        return registry

    @property
    def embedded(self) -> SqliteDatabase | None:
        """Return the database if it is an SQLite file, so that reads need no network; else None."""
        return self.database if isinstance(self.database, SqliteDatabase) else None

    @property
    def dialect(self) -> Dialect:
        """Which SQL the database speaks."""
        return self.database.dialect

    @property
    def incidents(self) -> Incidents:
        """What keeps the database from answering or from taking writes."""
        return self.database.incidents

    def read_transaction(
        self, *, single_statement: bool = False
    ) -> AbstractContextManager[Connection]:
        """Lend a connection inside a read transaction; see `Database.read_transaction`."""
        return self.database.read_transaction(single_statement=single_statement)

    def write_transaction(self) -> AbstractContextManager[Connection]:
        """Lend the writer's connection inside one transaction; see `Database.write_transaction`."""
        return self.database.write_transaction()

    def read_feed(self, after: int, limit: int, *, decisions_after: int | None = None) -> FeedPage:
        """Return up to `limit` changes after a position, oldest first; for the lake alone.

        When no version is left, and `decisions_after` is a number, the page also has the changed
        decisions after that: so a reader of the whole feed has both as of one instant.
        """
        columns = facts_columns(self.dialect)
        decisions: list[DecisionChange] = []
        with self.read_transaction() as connection:
            last, is_end = self._end_of_page(connection, after, limit)
            rows = connection.execute(
                "SELECT r.pk, r.version, r.deleted, r.last_updated, r.method, r.body, r.position,"  # noqa: S608
                f" {columns} FROM resource r"
                " WHERE r.position > :after AND r.position <= :last ORDER BY r.position",
                {"after": after, "last": last},
            ).fetchall()
            if is_end and decisions_after is not None:
                decisions = list_decision_changes(connection, decisions_after, limit)
                is_end = len(decisions) < limit
        if self.embedded is not None:
            # A commit may be read before it is on disk. Lost in a power cut, its position would be
            # given again to another version, and the lake would never see that one.
            self.embedded.flush()
        entries = tuple(
            FeedEntry(
                row["position"], Version.from_row(row), row["author"],
                StoredFacts.from_row(row).record,
            )
            for row in rows
        )  # fmt: skip
        return FeedPage(entries, tuple(decisions), is_end)

    def list_changed_subjects(self, after: int, epoch: str) -> list[tuple[str, str]]:
        """Return type and id of whatever's decision changed after a number of an epoch.

        For readers of what the lake made of the decisions up to that number. Unavailable when there
        are too many, Conflict when the number is no part of this store's past.
        """
        self.epoch().check_position(epoch, 0, after)
        with self.read_transaction(single_statement=True) as connection:
            subjects = list_changed_subjects(connection, after, _MOST_SUBJECTS + 1)
        if len(subjects) > _MOST_SUBJECTS:
            raise Unavailable("The lake is far behind the decisions of patients: try again later.")
        return subjects

    def read_feed_end(self) -> tuple[int, int]:
        """Return the newest position of the feed and the newest number of a changed decision."""
        with self.read_transaction() as connection:
            row = connection.execute("SELECT max(position) FROM resource").fetchone()
            return int(row[0] or 0), last_decision_change(connection)

    @staticmethod
    def _end_of_page(connection: Connection, after: int, limit: int) -> tuple[int, bool]:
        """Return the last position of a page, and whether it is the feed's; by size and number."""
        rows = connection.execute(
            "SELECT position, length(body) AS size FROM resource WHERE position > :after"
            " ORDER BY position LIMIT :limit",
            {"after": after, "limit": limit},
        ).fetchall()
        size = 0
        for place, row in enumerate(rows):
            size += row["size"]
            if size > _PAGE_BYTES and place:
                return int(rows[place - 1]["position"]), False
        return int(rows[-1]["position"]) if rows else after, len(rows) < limit

    def changes_after(self, position: int) -> tuple[int, frozenset[str] | None]:
        """Return the feed's newest position, and the patients of what was written after another.

        None where something of no patient was written, or much: then it may concern anybody. It
        says nothing of what was written, and is for a process that asks anew with a reader's token.
        """
        with self.read_transaction() as connection:
            row = connection.execute("SELECT max(position) FROM resource").fetchone()
            newest = int(row[0] or 0)
            if newest == position:
                return newest, frozenset()
            rows = connection.execute(
                "SELECT DISTINCT rp.patient FROM resource r"
                " LEFT JOIN record_patient rp ON rp.pk = r.pk"
                " WHERE r.position > :after AND r.current = 1 LIMIT :most",
                {"after": position, "most": _MOST_CHANGED_PATIENTS},
            ).fetchall()
        patients = frozenset(row[0] for row in rows)
        is_anybody = None in patients or len(rows) == _MOST_CHANGED_PATIENTS
        return newest, None if is_anybody else patients

    def close(self) -> None:
        """Close every connection that is not lent."""
        # So that none of this process's entries stays in doubt.
        with suppress(Unavailable, *DATABASE_ERRORS):
            self.resolve_journal()
        self.database.close()


def _tell_nobody(connection: Connection, consequence: Consequence) -> None:
    """Leave a consequence untold: this store was opened outside of a gateway."""


def _is_nobody_erased(connection: Connection, patient: str) -> bool:
    """Return False: the key of erasures is the gateway's."""
    return False
