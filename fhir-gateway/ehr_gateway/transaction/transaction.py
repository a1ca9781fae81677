"""A write transaction: versions, index, consent rules and audit together, or none of them.

The right to write is judged before anything is in place, so that nobody gains a right, or a sight
of a record, by what he tries to write. Depositing and the references are judged at the end, when
all that the transaction brings is there: a Bundle may hold a patient, the consent, and the records,
in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import orjson

from ehr_fhir.errors import (
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unprocessable,
)  # fmt: skip
from ehr_fhir.patch.patch import Patch
from ehr_fhir.references import Replacements
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.journal.closings import Closing, record_closings
from ehr_gateway.store import full_text, search_registry
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.version_closings import find_version_closing
from ehr_gateway.store.version_rows import (
    group_by_table,
    insert_index,
    insert_version,
    remove_index,
    replace_rules,
)  # fmt: skip
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.integrity import (
    find_dangling_references,
    resolve_conditional_references,
)
from ehr_gateway.transaction.patching import PatchedDraft, apply_patch
from ehr_gateway.transaction.prepared_resource import Draft, PreparedResource, source_author
from ehr_privacy.consent import (
    Predicate,
    Record,
    deposit_predicate,
    load_roles,
    may_write,
    record_facts,
)  # fmt: skip

__all__ = ["Transaction", "WriteResult", "open_transaction", "transaction_on"]

WriteInteraction = Literal["create", "update", "delete"]
_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class WriteResult:
    """What a write led to."""

    version: Version
    created: bool


@contextmanager
def open_transaction(
    store: Store, access: Access, audit: AuditHook | None = None
) -> Iterator[Transaction]:
    """Open a transaction of one request."""
    with (
        store.write_transaction() as connection,
        transaction_on(store, connection, access, audit) as transaction,
    ):
        yield transaction


@contextmanager
def transaction_on(
    store: Store, connection: Connection, access: Access, audit: AuditHook | None = None
) -> Iterator[Transaction]:
    """Write for one request on the writer's connection, lent already."""
    open_transaction = Transaction(store, connection, access)
    yield open_transaction
    open_transaction.run_deferred_checks()
    if audit is not None:
        audit(connection, open_transaction.versions)
    # Last: what may still be refused must not be on the journal.
    record_closings(connection, open_transaction.closings)


class Transaction:
    """The writes of one request, on the writer's connection."""

    def __init__(self, store: Store, connection: Connection, access: Access) -> None:
        self.store = store
        self.access = access
        self.versions: list[Version] = []
        self.closings: list[Closing] = []
        # What conditional references found: a Bundle repeats the same few again and again.
        self.criteria_ids: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self._connection = connection
        self._deferred_checks: list[tuple[WriteInteraction, Record, PreparedResource | None]] = []
        self._unindexed: list[tuple[Version, PreparedResource]] = []
        row = connection.execute("SELECT last_updated FROM resource ORDER BY pk DESC LIMIT 1")
        latest = row.fetchone()
        # Time never runs backwards in the feed, whatever the clock does.
        self.now_ms = max(access.now_ms, latest["last_updated"] if latest else 0)

    @property
    def connection(self) -> Connection:
        """Return the writer's connection, on which a search finds all that is written by now."""
        self._flush_index()
        return self._connection

    def create(self, draft: Draft) -> Version:
        """Store a new resource."""
        return self._store_version(draft, None, "POST")

    def update(
        self, draft: Draft, if_match: int | None = None, *, only_new: bool = False
    ) -> WriteResult:
        """Store a new version of a resource the requester may see.

        An absent id makes a new resource for systems, and for directory types. For a person and a
        patient's record it does not: that would tell a hidden id from a free one.
        """
        current = self._current(draft.type, draft.id)
        if current is None:
            return self._create_named(draft, if_match)
        _check_if_match(current, if_match)
        if only_new and not current.deleted:
            raise PreconditionFailed("If-None-Match says to make it only, but it is there.")
        return WriteResult(self._store_version(draft, current, "PUT"), created=False)

    def delete(self, kind: str, identity: str, if_match: int | None = None) -> Version:
        """Mark a resource as deleted; deleting twice is no error."""
        current = self._current(kind, identity)
        if current is None:
            raise NotFound(f"There is no {kind} with this id.")
        _check_if_match(current, if_match)
        if current.deleted:
            return current
        record = self._check_stored_version("delete", current)
        self._deferred_checks.append(("delete", record, None))
        remove_index(self.connection, current)
        return self._insert(record, b"", current, "DELETE", before=record)

    def patch(
        self,
        kind: str,
        identity: str,
        patch: Patch,
        if_match: int | None = None,
        replacements: Replacements = _NO_REPLACEMENTS,
        ahead: PatchedDraft | None = None,
    ) -> WriteResult:
        """Store what a patch makes of the current version, which the requester must see.

        Even of the platform's services: the answer to a patch tells what stood there. `ahead` is
        what it made of the version that was current before the lock was taken.
        """
        current = read_on(self._connection, self.access, kind, identity)
        _check_if_match(current, if_match)
        if ahead is None or ahead.base != current.pk:
            # Another write came between. Done here, so that nobody has to try again and again.
            ahead = apply_patch(current, patch, self.access, replacements)
        return WriteResult(self._store_version(ahead.draft, current, "PATCH"), created=False)

    def is_present(self, kind: str, identity: str) -> bool:
        """Say whether a resource is there that the requester may see."""
        current = self._current(kind, identity)
        return current is not None and not current.deleted

    def run_deferred_checks(self) -> None:
        """Judge what can be judged only at the end: the right to deposit, and the references."""
        self._flush_index()
        patients = {one for _, record, _ in self._deferred_checks for one in record.patients}
        joined = {patient: self._takes_deposits(patient) for patient in patients}
        for interaction, record, _ in self._deferred_checks:
            deposit = all(joined[patient] for patient in record.patients)
            self._check_right(interaction, record, joined=deposit, manages=True)
        for version in self.versions:
            if version.type == "SearchParameter":
                search_registry.apply_search_parameter(
                    self.connection, version.id, version.body, deleted=version.deleted
                )
        prepared = [one for *_, one in self._deferred_checks if one is not None]
        if issues := find_dangling_references(self.connection, self.access, prepared):
            raise Unprocessable(issues[0].diagnostics, issues=issues)
        self._deferred_checks.clear()

    def _store_version(self, draft: Draft, current: Version | None, method: str) -> Version:
        if draft.has_conditional_references:
            resolve_conditional_references(self, draft.resource, draft.path)
        # A record stays its first author's: else a needless update would make it the updater's
        # own, which no patient could close to him again.
        prepared = draft.prepare_for(current.author if current else self.access.author)
        if source_author(draft.resource) not in (None, prepared.record.author):
            text = "`meta.source` names an organisation that is not the author of this record."
            raise Unprocessable(text, expression=f"{prepared.record.type}.meta.source")
        interaction: WriteInteraction = "update" if current else "create"
        holds = any(rule.table == "consent_hold" for rule in prepared.rules)
        self._check_right_except_enrolment(interaction, prepared.record, holds=holds)
        self._deferred_checks.append((interaction, prepared.record, prepared))
        before = None
        if current is not None and not current.deleted:
            before = self._check_stored_version("update", current)
            remove_index(self.connection, current)
        number = current.version + 1 if current else 1
        body = prepared.body(number, self.now_ms)
        version = self._insert(prepared.record, body, current, method, before=before)
        self._unindexed.append((version, prepared))
        if len(self._unindexed) >= _INDEX_BATCH:
            self._flush_index()
        replace_rules(
            self._connection, prepared.record, prepared.rules, has_previous=current is not None
        )
        return version

    def _flush_index(self) -> None:
        """Make what is written be found: of many at once, since neighbours share a page."""
        if not self._unindexed:
            return
        written, self._unindexed = self._unindexed, []
        registry = self.store.registry(self._connection)
        rows = []
        for version, prepared in written:
            added = registry.extract_rows(version.type, version.body)
            found = group_by_table(registry.ids, version.type, (*prepared.rows, *added))
            rows.append((version.pk, found))
        insert_index(self._connection, rows)
        words = [(version.pk, version.type, prepared.words) for version, prepared in written]
        full_text.insert_words(self._connection, words)

    def _insert(
        self,
        record: Record,
        body: bytes,
        current: Version | None,
        method: str,
        *,
        before: Record | None,
    ) -> Version:
        version = insert_version(
            self._connection,
            record,
            body,
            version=current.version + 1 if current else 1,
            last_updated_ms=self.now_ms,
            method=method,
        )
        if method == "DELETE":
            replace_rules(self._connection, record, (), has_previous=True)
        self.versions.append(version)
        if closing := find_version_closing(version, record, before):
            self.closings.append(closing)
        self.criteria_ids.pop(record.type, None)
        return version

    def _create_named(self, draft: Draft, if_match: int | None) -> WriteResult:
        record = record_facts(draft.resource, None)
        named = self.access.requester.role == "system" or record.directory
        if named:
            self._check_right_except_enrolment("create", record)
        if if_match is not None or not named or self._exists(draft.type, draft.id):
            raise NotFound(f"There is no {draft.type} with this id.")
        return WriteResult(self._store_version(draft, None, "PUT"), created=True)

    def _current(self, kind: str, identity: str) -> Version | None:
        visible = _NO_CONDITION if self._is_platform_service else self.access.read_predicate
        row = self._connection.execute(
            "SELECT r.* FROM resource r WHERE r.type = :type AND r.id = :id AND r.current = 1"  # noqa: S608
            f" AND ({visible.sql})",
            {"type": kind, "id": identity, **visible.params},
        ).fetchone()
        return Version.from_row(row) if row else None

    @property
    def _is_platform_service(self) -> bool:
        # Its services keep records that they may not read, such as consents.
        requester = self.access.requester
        return requester.role == "system" and requester.organization == load_roles().platform

    def _exists(self, kind: str, identity: str) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
        )
        return row.fetchone() is not None

    def _check_stored_version(self, interaction: WriteInteraction, current: Version) -> Record:
        """Judge a change by what stands there now, too: it may be about somebody else."""
        # What is stored was parsed strictly before; the facts hang on no number's digits.
        record = record_facts(orjson.loads(current.body), current.author)
        self._check_right_except_enrolment(interaction, record, holds=self._is_hold(record))
        return record

    def _check_right_except_enrolment(
        self, interaction: WriteInteraction, record: Record, *, holds: bool = False
    ) -> None:
        """Judge all of the right to write but joining, which the transaction itself may bring."""
        self._check_right(
            interaction,
            record,
            joined=True,
            manages=all(self._manages_account(patient) for patient in record.patients),
            holds=holds,
        )

    def _check_right(
        self,
        interaction: WriteInteraction,
        record: Record,
        *,
        joined: bool,
        manages: bool,
        holds: bool = False,
    ) -> None:
        requester = self.access.requester
        decision = may_write(
            requester, interaction, record, joined, True, manages=manages, holds=holds
        )
        if not decision.permit:
            raise Forbidden(_REFUSALS.get(decision.reason, _REFUSALS["role"]))

    def _takes_deposits(self, patient: str) -> bool:
        requester = self.access.requester
        joined = deposit_predicate(requester.organization, self.access.now_ms)
        return self._is_true(joined.sql, {"patient": patient, **joined.params})

    def _manages_account(self, patient: str) -> bool:
        if self.access.requester.role != "carer":
            return False
        condition = (
            "EXISTS (SELECT 1 FROM consent_carer WHERE patient = :patient AND person = :person"
            " AND can_manage = 1 AND since <= :now AND (until IS NULL OR :now < until))"
        )
        person, now = self.access.requester.person, self.access.now_ms
        return self._is_true(condition, {"patient": patient, "person": person, "now": now})

    def _is_hold(self, record: Record) -> bool:
        condition = "EXISTS (SELECT 1 FROM consent_hold WHERE consent = :id)"
        return record.type == "Consent" and self._is_true(condition, {"id": record.id})

    def _is_true(self, condition: str, params: Mapping[str, object]) -> bool:
        return bool(self._connection.execute(f"SELECT {condition}", params).fetchone()[0])


_NO_CONDITION = Predicate("TRUE", {})
_INDEX_BATCH = 100
_REFUSALS = {
    "scope": "The token's scopes do not cover this interaction on this type.",
    "role": "The requester's role may not write this kind of record.",
    "not-joined": "The patient's account takes no deposits from this organisation.",
    "not-own": "A patient may write this for his or her own record only.",
    "no-power": "The power to act for this patient is not in force.",
    "held": "A result that is held back is for those who hold it, not for the patient, to release.",
}


def _check_if_match(current: Version, if_match: int | None) -> None:
    if if_match is not None and if_match != current.version:
        raise PreconditionFailed(
            "If-Match names another version than the current one. Read it again, then write."
        )
