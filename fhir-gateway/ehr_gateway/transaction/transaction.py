"""One write transaction: versions, index, consent rules and audit rows, all or nothing.

Permission is checked in two steps. The right to write is checked before a resource is stored, so
that a requester gains no right, and no view of a record, by what they try to write. The right to
deposit and the references are checked at the end (`run_deferred_checks`), because a Bundle may hold
the patient, the consent and the records in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import orjson

from ehr_fhir.errors import NotFound, PreconditionFailed, Unprocessable
from ehr_fhir.json_text import parse
from ehr_fhir.own_entries import check_own_entry, is_own_entry
from ehr_fhir.patch.patch import Patch
from ehr_fhir.references import Replacements
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.journal.redo_actions import (
    RedoAction,
    append_redo_actions,
    build_facts_redo,
)
from ehr_gateway.store import full_text, search_registry
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.grant_endings import RuleEvent
from ehr_gateway.store.index_rows import (
    IndexValues,
    group_by_table,
    insert_index,
    remove_index,
    replace_index,
)
from ehr_gateway.store.inheritance import (
    InheritedChange,
    WrittenRecord,
    read_outward_facts,
    settle_inheritance,
)
from ehr_gateway.store.loosened_restrictions import LoosenedRestrictions
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.stored_facts import (
    FactChange,
    FactCorrection,
    StoredFacts,
    correct_facts,
    facts_columns,
    read_stored_facts,
    replace_held_facts,
)
from ehr_gateway.store.update_instant import next_instant
from ehr_gateway.store.version_redo import find_version_redo
from ehr_gateway.store.version_rows import insert_version, replace_rules
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.identity_proposals import keep_proposal
from ehr_gateway.transaction.integrity import (
    ReferenceCheck,
    canonical_reference,
    canonical_references,
    check_references,
    resolve_conditional_references,
)
from ehr_gateway.transaction.patching import PatchedDraft, apply_patch
from ehr_gateway.transaction.prepared_resource import Draft, PreparedResource, source_author
from ehr_gateway.transaction.write_permission import WriteInteraction, WritePermission
from ehr_privacy.consent import (
    SOURCE_TABLES,
    HeldFact,
    Predicate,
    Record,
    act_of_deletion,
    acts_of_creation,
    acts_of_update,
    apply_held_facts,
    drop_third_party_facts,
    hold_third_party_facts,
    is_unlimited,
    record_facts,
    stored_rule_rows,
)  # fmt: skip
from ehr_privacy.consent.held_facts import UPDATE
from ehr_privacy.consent.inherited_facts import (
    FactNode,
    FactTargets,
    Key,
    OutwardFacts,
    fact_targets,
    outward_facts,
)

__all__ = ["Transaction", "WriteResult", "open_transaction", "transaction_on"]

_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})
_NO_TARGETS = FactTargets()


@dataclass(frozen=True)
class WriteResult:
    """The version that a write stored or found, and whether it created the resource."""

    version: Version
    created: bool
    # The id of the proposal kept in place of a new version; `version` is still the current one.
    proposal: str | None = None


@contextmanager
def open_transaction(
    store: Store, access: Access, audit: AuditHook | None = None
) -> Iterator[Transaction]:
    """Open a write transaction for one request; it commits when the context ends."""
    with (
        store.write_transaction() as connection,
        transaction_on(store, connection, access, audit) as transaction,
    ):
        yield transaction


@contextmanager
def transaction_on(
    store: Store, connection: Connection, access: Access, audit: AuditHook | None = None
) -> Iterator[Transaction]:
    """Run a write transaction on an already open connection; its owner commits it."""
    transaction = Transaction(store, connection, access)
    yield transaction
    transaction.run_deferred_checks()
    if audit is not None:
        versions = [*transaction.versions, *transaction.proposals]
        audit(connection, versions, transaction.consequences)
    for consequence in transaction.consequences:
        store.tell_consequence(connection, consequence)
    # Last: an entry of a transaction that is then refused would be in doubt until it is resolved.
    append_redo_actions(connection, transaction.redo_actions)


@dataclass(frozen=True)
class _DeferredCheck:
    """What is left to be checked of one write; a delete names nothing."""

    interaction: WriteInteraction
    record: Record
    references: ReferenceCheck | None
    # Whether the right to deposit has to be shown for the record's patients.
    deposits: bool = True

    @property
    def has_lost_reference(self) -> bool:
        """Whether the version before names something that this one does not."""
        if self.references is None or not self.references.kept:
            return False
        named = {canonical_reference(name) for _, name in self.references.prepared.references}
        return not self.references.kept <= named


@dataclass(frozen=True)
class _PreviousState:
    """What the version before says, and its facts."""

    resource: dict[str, Any]
    facts: StoredFacts


@dataclass(frozen=True)
class _Written:
    """A record whose facts the transaction has written; a correction has no version."""

    pk: int
    record: Record
    held: frozenset[HeldFact]
    before: StoredFacts | None
    targets: FactTargets
    version: Version | None = None
    has_lost_reference: bool = False
    has_redo: bool = False

    def cause(self, now_ms: int) -> str:
        """Name what is told of: the version, or the correction by its patient or a steward."""
        number = f"corrected-{now_ms}" if self.version is None else self.version.version
        return f"{self.record.type}/{self.record.id}:{number}"

    def to_written_record(self) -> WrittenRecord:
        """Return what its inheritance is worked out from."""
        before = None
        if self.before is not None:
            before = outward_facts(self.before.record, self.before.held)
        node = FactNode(self.record, self.held, self.targets)
        return WrittenRecord(self.pk, node, before, self.has_lost_reference)


class _Unindexed(NamedTuple):
    """A version whose index rows wait, and whether those of the version before are there."""

    version: Version
    prepared: PreparedResource
    has_index: bool


class Transaction:
    """The writes of one request, on the writer's connection."""

    def __init__(self, store: Store, connection: Connection, access: Access) -> None:
        self.store = store
        self.access = access
        self.versions: list[Version] = []
        # The current versions of the resources for which a proposal was kept.
        self.proposals: list[Version] = []
        # What patients and stewards are told of.
        self.consequences: list[Consequence] = []
        self.redo_actions: list[RedoAction] = []
        # Ids by type and criteria: a Bundle repeats the same few conditional references many times.
        self.criteria_ids: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self._connection = connection
        self._permission = WritePermission(access, connection)
        self._deferred_checks: list[_DeferredCheck] = []
        # By pk: what waits for `_flush_index`.
        self._unindexed: dict[int, _Unindexed] = {}
        self._written: dict[Key, _Written] = {}
        # It holds until the end: SearchParameters of this transaction are added last.
        self._registry = store.registry(connection)
        latest = self._registry.latest
        self.now_ms = next_instant(latest, access.now_ms, store.incidents)
        self._rule_event = RuleEvent(access.now_ms, latest.position)

    @property
    def connection(self) -> Connection:
        """Return the connection with the index flushed, so that searches find earlier writes."""
        self._flush_index()
        return self._connection

    def create(self, draft: Draft) -> Version:
        """Store a new resource."""
        self.access.require_scope("create", draft.type)
        return self._store_new(draft, "POST")

    def update(
        self, draft: Draft, if_match: int | None = None, *, only_new: bool = False
    ) -> WriteResult:
        """Store a new version of a resource that the requester can see.

        An absent id creates the resource (update as create) in the directory, for the platform's
        own systems, and for an organisation's systems if they may choose the id. Else the answer
        would tell a hidden record from none (`WritePermission.may_choose_id`). With `only_new`
        (If-None-Match: *) a resource that exists is refused.
        """
        if not self.access.covers("create", draft.type):
            self.access.require_scope("update", draft.type)
        current = self._current(draft.type, draft.id)
        if current is None:
            return self._create_with_id(draft, if_match)
        _check_if_match(current, if_match)
        if only_new and not current.deleted:
            raise PreconditionFailed("If-None-Match says to make it only, but it is there.")
        return self._store_change(draft, current, "PUT")

    def delete(self, kind: str, identity: str, if_match: int | None = None) -> Version:
        """Store a deletion marker as the new version; deleting twice is no error."""
        self.access.require_scope("delete", kind)
        current = self._current(kind, identity)
        if current is None:
            raise NotFound(f"There is no {kind} with this id.")
        _check_if_match(current, if_match)
        if current.deleted:
            return current
        # A deletion marker keeps the facts in force.
        facts = self._stored_facts(current)
        record = facts.record
        self._permission.check_stored("delete", record)
        self._permission.check_acts(record, {act_of_deletion(record)})
        remove_index(self.connection, current)
        return self._insert(record, b"", current, "DELETE", before=facts, held=facts.held)

    def patch(
        self,
        kind: str,
        identity: str,
        patch: Patch,
        if_match: int | None = None,
        replacements: Replacements = _NO_REPLACEMENTS,
        patched: PatchedDraft | None = None,
    ) -> WriteResult:
        """Apply a patch to the current version, which must be visible to the requester.

        Visibility is required of the platform's services too, because the response reveals the
        previous content. `patched` is the patch applied before the lock was taken, to the version
        that was current then.
        """
        self.access.require_scope("patch", kind)
        if self._permission.corrects_person(kind):
            found = self._current(kind, identity)
            if found is None or found.deleted:
                raise NotFound(f"There is no {kind} with this id.")
            current = found
        else:
            current = read_on(self._connection, self.access, kind, identity, with_facts=True)
        _check_if_match(current, if_match)
        if patched is None or patched.base != current.position:
            # Another write came between. Patch again under the lock: the client need not retry.
            patched = apply_patch(current, patch, self.access, replacements)
        return self._store_change(patched.draft, current, "PATCH")

    def is_present(self, kind: str, identity: str) -> bool:
        """Say whether a resource exists that the requester can see."""
        current = self._current(kind, identity)
        return current is not None and not current.deleted

    def run_deferred_checks(self) -> None:
        """Check what only the whole transaction shows: the right to deposit, and references."""
        self._flush_index()
        self._check_deposits()
        self._register_search_parameters()
        references = [check.references for check in self._deferred_checks if check.references]
        findings = check_references(
            self.connection,
            self.access,
            references,
            is_platform=self._permission.is_platform_service,
        )
        if issues := findings.issues:
            raise Unprocessable(issues[0].diagnostics, issues=issues)
        self._deferred_checks.clear()
        self._settle_inheritance(findings.outward_facts)

    def correct_facts(
        self, kind: str, identity: str, corrections: Sequence[FactCorrection]
    ) -> FactChange:
        """Correct what a stored record is judged by, as its patient or a steward says.

        The caller checks the right to do so. Raises NotFound if the record is not there.
        """
        change = correct_facts(self.connection, kind, identity, corrections)
        self._written[kind, identity] = _Written(
            pk=change.pk,
            record=change.after.record,
            held=change.after.held,
            before=change.before,
            targets=fact_targets(change.after.record, change.references),
        )
        redo_action = build_facts_redo(kind=kind, identity=identity, held=change.after.held)
        self.redo_actions.append(redo_action)
        return change

    def _settle_inheritance(self, boundary: Mapping[Key, OutwardFacts]) -> None:
        """Let what was written inherit from what it names, and what names it from it."""
        written, self._written = self._written, {}
        corrected = [each for each in written.values() if each.version is None]
        if corrected:
            # What a correction concerns was not looked up with the references of versions.
            targets = {key for each in corrected for key in each.targets.all}
            boundary = {**boundary, **read_outward_facts(self._connection, targets)}
        changes = settle_inheritance(
            self._connection,
            self.store.parameter_ids,
            [each.to_written_record() for each in written.values()],
            boundary,
        )
        self._note_loosenings(written, changes)
        if self.access.requester.role == "steward":
            self._note_recorded_choices(written)
        for key, change in changes.items():
            each = written.get(key)
            if each is None or each.version is None or each.before is None or each.has_redo:
                continue
            # A new reference may have closed the record.
            if redo_action := find_version_redo(
                each.version, change.after, each.before.record, held=each.held
            ):
                self.redo_actions.append(redo_action)

    def _note_recorded_choices(self, written: Mapping[Key, _Written]) -> None:
        """Note the Consents that a steward wrote for patients, who are told of it."""
        for each in written.values():
            if each.record.type == "Consent":
                cause = each.cause(self.access.now_ms)
                self._note("recorded", each.record, cause, each.record.patients)

    def _note_move(self, current: Version, before: Record, after: Record) -> None:
        """Note that the author moved a record, of which its patients are told."""
        if before.patients != after.patients and self._permission.is_author(current.author):
            cause = f"{after.type}/{after.id}:{current.version + 1}"
            self._note("moved", after, cause, before.patients | after.patients)

    def _note_loosenings(
        self, written: Mapping[Key, _Written], changes: Mapping[Key, InheritedChange]
    ) -> None:
        """Note whose restrictions closed a record until now, and close it no more.

        Records that name a written one may open with it, whoever wrote them. A move by the platform
        or a steward is told of by other means, and so is what a steward corrects in the record.
        """
        now_ms = self.access.now_ms
        restrictions = LoosenedRestrictions(self._connection, now_ms)
        for key, stored in written.items():
            before = stored.before
            if before is None or (stored.version is None and not self._is_for_patient):
                continue
            after = changes[key].after if key in changes else stored.record
            is_own = stored.version is None or self._permission.is_author(stored.record.author)
            if is_own or before.record.patients == after.patients:
                found = restrictions.find(before.record, after)
                self._note("loosened" if is_own else "opened", after, stored.cause(now_ms), found)
        cause = next((stored.cause(now_ms) for stored in written.values()), "")
        for key in changes.keys() - written.keys():
            found = restrictions.find(changes[key].before, changes[key].after)
            self._note("opened", changes[key].after, cause, found)

    @property
    def _is_for_patient(self) -> bool:
        """Whether patients act themselves, who need not be told what they did."""
        return self.access.requester.role == "patient"

    def _note(
        self,
        kind: Literal["moved", "loosened", "opened", "recorded"],
        record: Record,
        cause: str,
        patients: Iterable[str],
    ) -> None:
        requester = self.access.requester
        told = frozenset(patients) - ({requester.patient} if self._is_for_patient else set())
        if told:
            self.consequences.append(
                Consequence(kind, record, cause, told, requester, self.access.now_ms)
            )

    def _check_deposits(self) -> None:
        patients = {
            patient
            for check in self._deferred_checks
            if check.deposits
            for patient in check.record.patients
        }
        takes_deposits = {patient: self._permission.takes_deposits(patient) for patient in patients}
        for check in self._deferred_checks:
            joined = not check.deposits or all(
                takes_deposits[patient] for patient in check.record.patients
            )
            self._permission.check(check.interaction, check.record, joined=joined, manages=True)

    def _register_search_parameters(self) -> None:
        for version in self.versions:
            if version.type == "SearchParameter":
                search_registry.apply_search_parameter(
                    self.connection, version.id, version.body, deleted=version.deleted
                )

    def _store_change(self, draft: Draft, current: Version, method: str) -> WriteResult:
        """Store a new version, or keep it as a proposal where a steward has to approve it."""
        prepared = self._prepare(draft, current.author)
        previous = self._previous_state(current)
        if previous is not None and self._is_for_review(draft, prepared, previous, current):
            self._deferred_checks.append(self._deferred_check("update", prepared, previous))
            proposal = keep_proposal(self._connection, self.access, current, draft.resource)
            self.proposals.append(current)
            return WriteResult(current, created=False, proposal=proposal)
        version = self._store_prepared(draft, prepared, current, previous, method)
        return WriteResult(version, created=False)

    def _store_new(self, draft: Draft, method: str) -> Version:
        prepared = self._prepare(draft, self.access.author)
        self._permission.check_except_enrolment("create", prepared.record, holds=_is_hold(prepared))
        self._check_own_entry(draft, prepared)
        self._permission.check_acts(prepared.record, acts_of_creation(draft.resource))
        return self._store_prepared(draft, prepared, None, None, method)

    def _prepare(self, draft: Draft, author: str | None) -> PreparedResource:
        """Return the prepared resource as a record of its first author.

        An organisation's own records cannot be closed to it, so if an update changed the author, an
        organisation could make any record one that the patient cannot close.
        """
        if draft.has_conditional_references:
            resolve_conditional_references(self, draft.resource, draft.path)
        prepared = draft.prepare_for(author)
        if source_author(draft.resource) not in (None, prepared.record.author):
            text = "`meta.source` names an organisation that is not the author of this record."
            raise Unprocessable(text, expression=f"{prepared.record.type}.meta.source")
        return prepared

    def _is_for_review(
        self,
        draft: Draft,
        prepared: PreparedResource,
        previous: _PreviousState,
        current: Version,
    ) -> bool:
        """Check the right to a change; say whether it is a proposal that a steward decides."""
        self._permission.check_except_enrolment("update", prepared.record, holds=_is_hold(prepared))
        # The columns of a stored version do not say who measured it; its content does.
        before = replace(
            previous.facts.record, performed_by_patient=is_own_entry(previous.resource)
        )
        if prepared.record.own_entry != before.own_entry:
            text = "An entry of the patient's own stays one, and no other record becomes one."
            raise Unprocessable(text, expression=f"{prepared.record.type}.performer")
        if not current.deleted:
            if before.clinical_consent != prepared.record.clinical_consent:
                text = "A Consent stays what its scope made it: a rule, or a clinical document."
                raise Unprocessable(text, expression="Consent.scope")
            self._permission.check_stored("update", before)
        author = previous.facts.record.author
        if current.type != "Patient" and is_unlimited(self.access.requester, author):
            return False
        acts = acts_of_update(
            previous.resource,
            draft.resource,
            previous.facts.record,
            prepared.record,
            restores=current.deleted,
        )
        self._check_own_entry(draft, prepared)
        return self._permission.check_acts(before, acts)

    def _check_own_entry(self, draft: Draft, prepared: PreparedResource) -> None:
        """Refuse what is no plausible entry of the patient's own, whoever types it for them."""
        if prepared.record.own_entry and self.access.requester.role in ("patient", "carer"):
            check_own_entry(draft.resource, self.access.now_ms)

    def _store_prepared(
        self,
        draft: Draft,
        prepared: PreparedResource,
        current: Version | None,
        previous: _PreviousState | None,
        method: str,
    ) -> Version:
        interaction: WriteInteraction = "update" if current else "create"
        self._deferred_checks.append(self._deferred_check(interaction, prepared, previous))
        rules_changed = (
            previous is not None
            and draft.type in SOURCE_TABLES
            and stored_rule_rows(previous.resource) != list(prepared.rules)
        )
        is_new = current is None or current.deleted
        if current is not None and previous is not None:
            self._note_move(current, previous.facts.record, prepared.record)
        held = self._held_facts(draft, current, previous)
        body = prepared.body(current.version + 1 if current else 1, self.now_ms)
        version = self._insert(
            apply_held_facts(prepared.record, held),
            body,
            current,
            method,
            before=None if previous is None else previous.facts,
            held=held,
            targets=prepared.fact_targets,
            has_lost_reference=self._deferred_checks[-1].has_lost_reference,
            rules_changed=rules_changed and not is_new,
        )
        waiting = self._unindexed.get(version.pk)
        has_index = waiting.has_index if waiting else not is_new
        self._unindexed[version.pk] = _Unindexed(version, prepared, has_index)
        if len(self._unindexed) >= _INDEX_BATCH:
            self._flush_index()
        if rules_changed or is_new:
            replace_rules(
                self._connection,
                prepared.record,
                prepared.rules,
                has_previous=current is not None,
                event=self._rule_event,
            )
        return version

    def _flush_index(self) -> None:
        """Write pending index rows in one batch, sorted by key to touch fewer B-tree pages."""
        if not self._unindexed:
            return
        batch, self._unindexed = self._unindexed, {}
        registry = self._registry
        inserted: list[tuple[int, IndexValues]] = []
        replaced: list[tuple[int, IndexValues]] = []
        for pk, (version, prepared, has_index) in batch.items():
            added_rows = registry.extract_rows(version.type, version.body)
            rows = group_by_table(registry.ids, version.type, (*prepared.rows, *added_rows))
            (replaced if has_index else inserted).append((pk, rows))
        insert_index(self._connection, inserted)
        replace_index(self._connection, replaced)
        words = [(version, prepared.words) for version, prepared, _ in batch.values()]
        full_text.write_words(self._connection, words)

    def _insert(
        self,
        record: Record,
        body: bytes,
        current: Version | None,
        method: str,
        *,
        before: StoredFacts | None,
        held: frozenset[HeldFact],
        targets: FactTargets = _NO_TARGETS,
        has_lost_reference: bool = False,
        rules_changed: bool = False,
    ) -> Version:
        version = insert_version(
            self._connection,
            record,
            body,
            last_updated_ms=self.now_ms,
            method=method,
            previous=current,
        )
        version = replace(version, facts=StoredFacts(record, held))
        if method == "DELETE":
            # A deleted Consent has no rules; other writes replace them in `_store_version`.
            replace_rules(self._connection, record, (), has_previous=True, event=self._rule_event)
        self.versions.append(version)
        if before is not None and before.held != held:
            replace_held_facts(self._connection, record.type, record.id, before.held, held)
        # A deleted version's facts are no reason to write a later one again: it may have restricted
        # nothing.
        was_there = before is not None and current is not None and not current.deleted
        redo_action = find_version_redo(
            version,
            record,
            before.record if before is not None and was_there else None,
            held=held,
            rules_changed=rules_changed,
        )
        if redo_action:
            self.redo_actions.append(redo_action)
        if method != "DELETE":
            earlier = self._written.get((record.type, record.id))
            self._written[record.type, record.id] = _Written(
                version.pk,
                record,
                held,
                before if earlier is None else earlier.before,
                targets,
                version,
                has_lost_reference,
                bool(redo_action),
            )
        self.criteria_ids.pop(record.type, None)
        return version

    def _held_facts(
        self, draft: Draft, current: Version | None, previous: _PreviousState | None
    ) -> frozenset[HeldFact]:
        """Return the facts held beside the new version.

        The author's version ends what third parties said. Anybody else's leaves a record at least
        as closed as it was.
        """
        if current is None or previous is None:
            return frozenset()
        if self._permission.may_loosen(current.author):
            return drop_third_party_facts(previous.facts.held)
        held = hold_third_party_facts(previous.resource, draft.resource, previous.facts.held)
        if self._permission.is_platform_service:
            # The platform merges accounts: whose record it is, its version says.
            held = frozenset(
                fact for fact in held if (fact.kind, fact.source) != _PATIENT_BY_UPDATE
            )
        return held

    def _stored_facts(self, current: Version) -> StoredFacts:
        facts = current.facts or read_stored_facts(self._connection, current.type, current.id)
        if facts is None:
            raise NotFound(f"There is no {current.type} with this id.")
        return facts

    def _create_with_id(self, draft: Draft, if_match: int | None) -> WriteResult:
        record = record_facts(draft.resource, None)
        if self.access.requester.role == "system" or record.directory:
            self._permission.check_except_enrolment("create", record)
        may_choose_id = self._permission.may_choose_id(record, draft.id)
        if if_match is not None or not may_choose_id or self._exists(draft.type, draft.id):
            raise NotFound(self._permission.absent_text(draft.type))
        return WriteResult(self._store_new(draft, "PUT"), created=True)

    def _current(self, kind: str, identity: str) -> Version | None:
        # A hidden version is None, as an absent one: no answer may tell them apart.
        permission = self._permission
        is_unconditional = permission.is_platform_service or permission.corrects_person(kind)
        visible = _NO_CONDITION if is_unconditional else self.access.read_predicate
        row = self._connection.execute(
            f"SELECT r.*, {facts_columns(self._connection.dialect)} FROM resource r"  # noqa: S608
            f" WHERE r.type = :type AND r.id = :id AND r.current = 1 AND ({visible.sql})",
            {"type": kind, "id": identity, **visible.params},
        ).fetchone()
        return replace(Version.from_row(row), facts=StoredFacts.from_row(row)) if row else None

    def _exists(self, kind: str, identity: str) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
        )
        return row.fetchone() is not None

    def _previous_state(self, current: Version) -> _PreviousState | None:
        """Return what a resource said until now; of a deleted one, what it said before that."""
        body = current.body
        if current.deleted:
            row = self._connection.execute(
                "SELECT body FROM resource WHERE type = ? AND id = ? AND deleted = 0"
                " ORDER BY version DESC LIMIT 1",
                (current.type, current.id),
            ).fetchone()
            if row is None:
                return None
            body = row["body"]
        # A plain parser will do: the body was parsed strictly when it was stored, and none of the
        # facts depends on the exact digits of a number. A Patient is compared whole with the next.
        resource = parse(body) if current.type == "Patient" else orjson.loads(body)
        return _PreviousState(resource, self._stored_facts(current))

    def _deferred_check(
        self,
        interaction: WriteInteraction,
        prepared: PreparedResource,
        previous: _PreviousState | None,
    ) -> _DeferredCheck:
        if previous is None:
            return _DeferredCheck(interaction, prepared.record, ReferenceCheck(prepared))
        # What an organisation wrote it can correct for ever, also once the account is closed.
        is_own = self._permission.is_author(prepared.record.author)
        deposits = not is_own or not prepared.record.patients <= previous.facts.record.patients
        kept = canonical_references(previous.resource)
        return _DeferredCheck(
            interaction, prepared.record, ReferenceCheck(prepared, kept), deposits
        )


_PATIENT_BY_UPDATE = ("patient", UPDATE)
_NO_CONDITION = Predicate("TRUE", {})
# As quick as larger batches, in less memory (measured with Bundles when it was introduced).
_INDEX_BATCH = 100


def _is_hold(prepared: PreparedResource) -> bool:
    return any(rule.table == "consent_hold" for rule in prepared.rules)


def _check_if_match(current: Version, if_match: int | None) -> None:
    if if_match is not None and if_match != current.version:
        raise PreconditionFailed(
            "If-Match names another version than the current one. Read it again, then write."
        )
