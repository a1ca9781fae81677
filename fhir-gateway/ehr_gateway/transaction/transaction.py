"""One write transaction: versions, index, consent rules and audit rows, all or nothing.

Permission is checked in two steps. The right to write is checked before a resource is stored, so
that a requester gains no right, and no view of a record, by what they try to write. The right to
deposit and the references are checked at the end (`run_deferred_checks`), because a Bundle may hold
the patient, the consent and the records in any order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from ehr_fhir.errors import Conflict, NotFound, PreconditionFailed, Unprocessable
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
from ehr_gateway.store import search_registry
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.grant_endings import RuleEvent
from ehr_gateway.store.index_rows import (
    remove_index,
)
from ehr_gateway.store.inheritance import (
    read_outward_facts,
    settle_inheritance,
)
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.stored_facts import (
    FactChange,
    FactCorrection,
    StoredFacts,
    correct_facts,
    replace_held_facts,
)
from ehr_gateway.store.update_instant import next_instant
from ehr_gateway.store.version_redo import find_version_redo
from ehr_gateway.store.version_rows import insert_version, replace_rules
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.consequence_notes import ConsequenceNotes
from ehr_gateway.transaction.deferred_checks import DeferredCheck, defer_check
from ehr_gateway.transaction.identity_proposals import keep_proposal
from ehr_gateway.transaction.integrity import (
    check_references,
    resolve_conditional_references,
)
from ehr_gateway.transaction.patching import PatchedDraft, apply_patch
from ehr_gateway.transaction.pending_index import PendingIndex
from ehr_gateway.transaction.prepared_resource import Draft, PreparedResource, source_author
from ehr_gateway.transaction.sent_provenance import draft_provenance
from ehr_gateway.transaction.stored_state import (
    PreviousState,
    find_current,
    is_stored,
    read_previous_state,
    require_facts,
)
from ehr_gateway.transaction.write_permission import WriteInteraction, WritePermission
from ehr_gateway.transaction.written_facts import WrittenFacts
from ehr_privacy.consent import (
    SOURCE_TABLES,
    HeldFact,
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
    FactTargets,
    Key,
    OutwardFacts,
    fact_targets,
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
    for draft in draft_provenance(access, transaction.versions, transaction.proposals):
        transaction.create(draft)
    transaction.run_deferred_checks()
    if audit is not None:
        versions = [*transaction.versions, *transaction.proposals]
        audit(connection, versions, transaction.consequences)
    for consequence in transaction.consequences:
        store.tell_consequence(connection, consequence)
    # Last: an entry of a transaction that is then refused would be in doubt until it is resolved.
    append_redo_actions(connection, transaction.redo_actions)


class Transaction:
    """The writes of one request, on the writer's connection."""

    def __init__(self, store: Store, connection: Connection, access: Access) -> None:
        self.store = store
        self.access = access
        self.versions: list[Version] = []
        # The current versions of the resources for which a proposal was kept.
        self.proposals: list[Version] = []
        self.redo_actions: list[RedoAction] = []
        # Ids by type and criteria: a Bundle repeats the same few conditional references many times.
        self.criteria_ids: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self._connection = connection
        self._permission = WritePermission(access, connection)
        self._notes = ConsequenceNotes(access, connection, self._permission)
        self._deferred_checks: list[DeferredCheck] = []
        self._written: dict[Key, WrittenFacts] = {}
        # It holds until the end: SearchParameters of this transaction are added last.
        self._registry = store.registry(connection)
        self._pending_index = PendingIndex(connection, self._registry)
        latest = self._registry.latest
        self.now_ms = next_instant(latest, access.now_ms, store.incidents)
        self._rule_event = RuleEvent(access.now_ms, latest.position)

    @property
    def consequences(self) -> Sequence[Consequence]:
        """What patients and stewards are told of."""
        return self._notes.consequences

    @property
    def connection(self) -> Connection:
        """Return the connection with the index flushed, so that searches find earlier writes."""
        self._pending_index.flush()
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
        current = self._find_current(draft.type, draft.id)
        if current is None:
            return self._create_with_id(draft, if_match)
        _check_if_match(current, if_match)
        if only_new and not current.deleted:
            raise PreconditionFailed("If-None-Match says to make it only, but it is there.")
        return self._store_change(draft, current, "PUT")

    def delete(self, kind: str, identity: str, if_match: int | None = None) -> Version:
        """Store a deletion marker as the new version; deleting twice is no error."""
        self.access.require_scope("delete", kind)
        current = self._find_current(kind, identity)
        if current is None:
            raise NotFound(f"There is no {kind} with this id.")
        _check_if_match(current, if_match)
        if current.deleted:
            return current
        # A deletion marker keeps the facts in force.
        facts = require_facts(self._connection, current)
        record = facts.record
        self._permission.check_stored("delete", record)
        if kind == "Consent":
            rules = stored_rule_rows(parse(current.body))
            self._permission.check_limits_of_carers(before=rules)
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
            found = self._find_current(kind, identity)
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
        current = self._find_current(kind, identity)
        return current is not None and not current.deleted

    def run_deferred_checks(self) -> None:
        """Check what only the whole transaction shows: the right to deposit, and references."""
        self._pending_index.flush()
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
        self._written[kind, identity] = WrittenFacts(
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
        self._notes.note_loosenings(written, changes)
        if self.access.requester.role == "steward":
            self._notes.note_recorded_choices(written)
        for key, change in changes.items():
            each = written.get(key)
            if each is None or each.version is None or each.before is None or each.has_redo:
                continue
            # A new reference may have closed the record.
            if redo_action := find_version_redo(
                each.version, change.after, each.before.record, held=each.held
            ):
                self.redo_actions.append(redo_action)

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
        previous = read_previous_state(self._connection, current)
        if previous is not None and self._is_for_review(draft, prepared, previous, current):
            self._deferred_checks.append(
                defer_check(self._permission, "update", prepared, previous)
            )
            proposal = keep_proposal(self._connection, self.access, current, draft.resource)
            self.proposals.append(current)
            return WriteResult(current, created=False, proposal=proposal)
        version = self._store_prepared(draft, prepared, current, previous, method)
        return WriteResult(version, created=False)

    def _store_new(self, draft: Draft, method: str) -> Version:
        prepared = self._prepare(draft, self.access.author)
        self._permission.check_except_enrolment("create", prepared.record, holds=_is_hold(prepared))
        self._check_own_entry(draft, prepared)
        self._permission.check_limits_of_carers(after=prepared.rules)
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
        previous: PreviousState,
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
        if current.type == "Consent":
            rules = stored_rule_rows(previous.resource)
            self._permission.check_limits_of_carers(before=rules, after=prepared.rules)
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
        previous: PreviousState | None,
        method: str,
    ) -> Version:
        interaction: WriteInteraction = "update" if current else "create"
        self._deferred_checks.append(defer_check(self._permission, interaction, prepared, previous))
        rules_changed = (
            previous is not None
            and draft.type in SOURCE_TABLES
            and stored_rule_rows(previous.resource) != list(prepared.rules)
        )
        is_new = current is None or current.deleted
        if current is not None and previous is not None:
            self._notes.note_move(current, previous.facts.record, prepared.record)
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
        self._pending_index.add(version, prepared, is_new=is_new)
        if rules_changed or is_new:
            replace_rules(
                self._connection,
                prepared.record,
                prepared.rules,
                has_previous=current is not None,
                event=self._rule_event,
            )
        return version

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
            self._written[record.type, record.id] = WrittenFacts(
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
        self, draft: Draft, current: Version | None, previous: PreviousState | None
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

    def _find_current(self, kind: str, identity: str) -> Version | None:
        return find_current(self._connection, self.access, self._permission, kind, identity)

    def _create_with_id(self, draft: Draft, if_match: int | None) -> WriteResult:
        if draft.type == "Patient" and self.store.is_erased(self._connection, draft.id):
            # Else a restore, which erases again, would take the new person's records.
            raise Conflict("This id was an erased patient's: choose another.")
        record = record_facts(draft.resource, None)
        if self.access.requester.role == "system" or record.directory:
            self._permission.check_except_enrolment("create", record)
        may_choose_id = self._permission.may_choose_id(record, draft.id)
        if (
            if_match is not None
            or not may_choose_id
            or is_stored(self._connection, draft.type, draft.id)
        ):
            raise NotFound(self._permission.absent_text(draft.type))
        return WriteResult(self._store_new(draft, "PUT"), created=True)


_PATIENT_BY_UPDATE = ("patient", UPDATE)


def _is_hold(prepared: PreparedResource) -> bool:
    return any(rule.table == "consent_hold" for rule in prepared.rules)


def _check_if_match(current: Version, if_match: int | None) -> None:
    if if_match is not None and if_match != current.version:
        raise PreconditionFailed(
            "If-Match names another version than the current one. Read it again, then write."
        )
