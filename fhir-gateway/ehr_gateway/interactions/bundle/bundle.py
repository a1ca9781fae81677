"""batch and transaction (R4 §3.1.0.11): a Bundle of requests, run one by one or all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlencode

from ehr_fhir.errors import EhrError, Invalid, operation_outcome
from ehr_fhir.json_text import parse
from ehr_fhir.references import EntryNames, Replacements, split_conditional_reference
from ehr_fhir.resource_links import list_references
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.interactions.bundle.conditions import (
    check_distinct_criteria,
    find_existing,
    resolve_criteria,
)
from ehr_gateway.interactions.bundle.drafts import (
    prepare_entries,
    references_by_full_url,
    replace_late_references,
    sort_writes,
)
from ehr_gateway.interactions.bundle.entries import (
    MAX_ENTRIES,
    READS,
    Entry,
    absent_operation,
    parse_entries,
    run_for_entry,
)
from ehr_gateway.interactions.bundle.reads import ReadTarget, is_not_modified
from ehr_gateway.interactions.bundle.snapshot import Snapshot
from ehr_gateway.interactions.history import HistoryPage, history_on, parse_history_query
from ehr_gateway.interactions.vread import vread_on
from ehr_gateway.search.across_types import search_types_on
from ehr_gateway.search.criteria import note_criteria
from ehr_gateway.search.page import SearchPage, search_on
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.identity_proposals import proposal_outcome
from ehr_gateway.transaction.integrity import UnmatchedReference
from ehr_gateway.transaction.transaction import Transaction, open_transaction

__all__ = [
    "BundleResult",
    "EntryRequests",
    "EntryResult",
    "ReadOptions",
    "disclosed_versions",
    "process_bundle",
]

_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})
# Chosen: rounds of writing entries whose conditional references match each other's resources.
_MAX_ROUNDS = 8


@dataclass(frozen=True)
class EntryResult:
    """The response to one entry: a version, a page, or an OperationOutcome."""

    status: str
    version: Version | None = None
    page: SearchPage | None = None
    history: HistoryPage | None = None
    # What was read, where the response is a page; without its body for a HEAD.
    target: ReadTarget | None = None
    without_body: bool = False
    outcome: dict[str, Any] | None = None
    # What an operation answered.
    answer: bytes | None = None
    # Whether the entry wrote the version; otherwise it found it.
    written: bool = False

    @property
    def is_refused(self) -> bool:
        """Say whether the entry was refused or failed."""
        return self.status >= "400"

    @property
    def location(self) -> str | None:
        """Return the version's address relative to the base URL."""
        version = self.version
        return f"{version.type}/{version.id}/_history/{version.version}" if version else None

    @property
    def etag(self) -> str | None:
        """Return the version as an entity tag."""
        return f'W/"{self.version.version}"' if self.version else None

    @property
    def last_modified(self) -> int | None:
        """Return when the version was written, in epoch milliseconds."""
        return self.version.last_updated_ms if self.version else None

    @property
    def body(self) -> bytes | None:
        """Return the bytes of the resource; None without a version or for a HEAD."""
        return self.version.body or None if self.version and not self.without_body else None


@dataclass(frozen=True)
class BundleResult:
    """The responses in the order of the entries; `read` is what was disclosed beside the writes."""

    type: str
    entries: tuple[EntryResult, ...]
    read: tuple[Version, ...] = field(default=())


class EntryRequests(Protocol):
    """The reads of a batch, each as a request of its own: on record, and with operations."""

    def begin(self, entry: Entry) -> Access:
        """Begin the request that an entry is; return its own access."""

    def invoke(self, entry: Entry) -> bytes:
        """Return what the operation that an entry names answers."""


@dataclass(frozen=True)
class ReadOptions:
    """How entries are read: `Prefer: handling`, the limits of a search, and whose requests."""

    lenient: bool = False
    limits: SearchLimits | None = None
    # None where the entries of a batch are part of one request.
    requests: EntryRequests | None = None


def process_bundle(
    store: Store,
    access: Access,
    body: bytes,
    *,
    audit: AuditHook | None = None,
    most_entries: int = MAX_ENTRIES,
    options: ReadOptions | None = None,
) -> BundleResult:
    """Process a batch or transaction Bundle.

    `audit` is called inside each write transaction, `most_entries` bounds the Bundle's size.
    """
    options = options or ReadOptions()
    content = parse(body)
    if content.get("resourceType") != "Bundle":
        raise Invalid("The content must be a Bundle.", expression="resourceType")
    entries = parse_entries(content, most_entries, access.base)
    if content.get("type") == "transaction":
        try:
            results = _process_transaction(store, access, entries, audit, options)
        except EhrError:
            for entry in entries:
                _note_refused(access, entry)
            raise
        return BundleResult("transaction-response", results, disclosed_versions(results))
    if content.get("type") == "batch":
        answers = _process_batch(store, access, entries, audit, options)
        return BundleResult("batch-response", answers, disclosed_versions(answers))
    raise Invalid("Bundle.type must be batch or transaction.", expression="Bundle.type")


def _process_batch(
    store: Store,
    access: Access,
    entries: Sequence[Entry | EhrError],
    audit: AuditHook | None,
    options: ReadOptions,
) -> tuple[EntryResult, ...]:
    """Process each entry as a request of its own; reads see one state of the store.

    The order of a batch means nothing (R4 §3.1.0.11.2). Where it only reads, operations come last:
    each has a transaction of its own, for which the reads' one is ended.
    """
    order = list(range(len(entries)))
    if all(isinstance(entry, EhrError) or entry.method in READS for entry in entries):
        order.sort(key=lambda index: _is_operation(entries[index]))
    results: dict[int, EntryResult] = {}
    with Snapshot(store) as snapshot:
        for index in order:
            entry = entries[index]
            if isinstance(entry, EhrError):
                results[index] = _error_result(entry)
            elif entry.method in READS:
                results[index] = _read_alone(snapshot, store, access, entry, options)
            else:
                snapshot.end()
                results[index] = _write_alone(store, access, entry, audit)
    return tuple(results[index] for index in range(len(entries)))


def _is_operation(entry: Entry | EhrError) -> bool:
    return not isinstance(entry, EhrError) and entry.is_operation


def _write_alone(
    store: Store, access: Access, entry: Entry, audit: AuditHook | None
) -> EntryResult:
    try:
        (ready,) = prepare_entries(store, access, [entry])
        with open_transaction(store, access, audit) as transaction:
            if (version := find_existing(transaction, ready)) is not None:
                return EntryResult("200 OK", version)
            return _write(transaction, resolve_criteria(transaction, ready))
    except EhrError as error:
        _note_refused(access, entry)
        return _error_result(error)


def _read_alone(
    snapshot: Snapshot, store: Store, access: Access, entry: Entry, options: ReadOptions
) -> EntryResult:
    """Read what an entry of a batch names, as a request of its own does."""
    requests = options.requests
    if requests is not None:
        access = requests.begin(entry)
    try:
        if entry.is_operation:
            if requests is None:
                raise absent_operation(entry.path)
            snapshot.end()
            return EntryResult("200 OK", answer=requests.invoke(entry))
        with snapshot.lend() as connection:
            return _read(connection, store, access, entry, options)
    except EhrError as error:
        access.inquiry.withdraw_answer()
        _note_refused(access, entry)
        return _error_result(error)


def _note_refused(access: Access, entry: Entry | EhrError) -> None:
    """Note what a refused entry asks for, for the audit log."""
    if isinstance(entry, EhrError):
        return
    target = entry.target
    kind, logical_id = (target.type, target.id) if target else (entry.type, entry.id)
    if kind is not None and logical_id is not None and entry.method != "POST":
        access.inquiry.name_target(kind, logical_id)
    if target is not None and target.within is not None:
        access.inquiry.name_target(*target.within)
    query = urlencode(target.pairs) if target else None
    for criteria in (query, entry.criteria, entry.if_none_exist):
        if kind and criteria:
            note_criteria(access, kind, criteria)
    for _, reference in list_references(entry.resource or {}):
        if conditional := split_conditional_reference(reference):
            note_criteria(access, *conditional)


def _process_transaction(
    store: Store,
    access: Access,
    entries: Sequence[Entry | EhrError],
    audit: AuditHook | None,
    options: ReadOptions,
) -> tuple[EntryResult, ...]:
    prepared = prepare_entries(store, access, [_raise_error(entry) for entry in entries])
    for entry in prepared:
        if entry.is_operation:
            raise absent_operation(entry.path)
    with open_transaction(store, access, audit) as transaction:
        # All criteria are resolved before anything is written.
        resolved = [
            run_for_entry(entry, lambda entry: resolve_criteria(transaction, entry))
            for entry in prepared
        ]
        existing = _find_all_existing(transaction, resolved)
        resolved = [
            entry._replace(id=existing[entry.path].id) if entry.path in existing else entry
            for entry in resolved
        ]
        _check_no_overlap(resolved, existing)
        check_distinct_criteria(
            [
                (before, after)
                for before, after in zip(prepared, resolved, strict=True)
                if after.path not in existing
            ]
        )
        references = references_by_full_url(resolved)
        replace_late_references(resolved, references)
        results = {path: EntryResult("200 OK", version) for path, version in existing.items()}
        remaining = [entry for entry in resolved if entry.path not in existing]
        results |= _write_entries(transaction, sort_writes(remaining), EntryNames(references))
        # Reads come last and see what the transaction has written.
        for entry in remaining:
            if entry.method in READS:
                results[entry.path] = run_for_entry(
                    entry,
                    lambda entry: _read(transaction.connection, store, access, entry, options),
                )
    return tuple(results[entry.path] for entry in resolved)


def _write_entries(
    transaction: Transaction, entries: Sequence[Entry], names: EntryNames
) -> dict[str, EntryResult]:
    """Write the entries, postponing those whose conditional references match nothing yet.

    Such a reference may match a resource that a later entry creates.
    """
    results: dict[str, EntryResult] = {}
    for rounds_left in reversed(range(_MAX_ROUNDS)):
        postponed: list[Entry] = []
        for entry in entries:
            try:
                results[entry.path] = run_for_entry(
                    entry, lambda entry: _write(transaction, entry, names)
                )
            except UnmatchedReference:
                # Nothing of this entry is written yet. Give up after a round in which no entry was.
                if not rounds_left or len(postponed) + 1 == len(entries):
                    raise
                postponed.append(entry)
        entries = postponed
    return results


def _find_all_existing(transaction: Transaction, entries: Sequence[Entry]) -> dict[str, Version]:
    """Return, by entry, what already meets the criteria of the conditional creates."""
    existing = {
        entry.path: run_for_entry(entry, lambda entry: find_existing(transaction, entry))
        for entry in entries
    }
    return {path: version for path, version in existing.items() if version is not None}


def _check_no_overlap(entries: Sequence[Entry], existing: Mapping[str, Version]) -> None:
    """Refuse a transaction that writes a resource twice, or deletes what its criteria match."""
    seen: dict[tuple[str, str | None], str] = {}
    for entry in entries:
        if entry.method in READS or entry.path in existing:
            continue
        first = seen.setdefault((entry.type, entry.id), entry.path)
        if first != entry.path and entry.id is not None:
            text = f"{entry.path} is of the same resource as {first}: it may be touched once."
            raise Invalid(text, expression=entry.path)
    _check_not_deleted(entries, existing)


def _check_not_deleted(entries: Sequence[Entry], existing: Mapping[str, Version]) -> None:
    kept = {(version.type, version.id) for version in existing.values()}
    for entry in entries:
        if entry.method == "DELETE" and (entry.type, entry.id) in kept:
            text = f"{entry.path} deletes what another entry's criteria have found."
            raise Invalid(text, expression=entry.path)


def _write(
    transaction: Transaction, entry: Entry, names: Replacements = _NO_REPLACEMENTS
) -> EntryResult:
    if entry.draft is None:
        return _delete_or_patch(transaction, entry, names)
    if entry.method == "POST":
        return EntryResult("201 Created", transaction.create(entry.draft), written=True)
    result = transaction.update(entry.draft, entry.if_match, only_new=entry.only_new)
    if result.proposal is not None:
        return _proposal_result(result.proposal)
    status = "201 Created" if result.created else "200 OK"
    return EntryResult(status, result.version, written=True)


def _delete_or_patch(transaction: Transaction, entry: Entry, names: Replacements) -> EntryResult:
    if entry.patch is not None:
        identity = entry.id or ""
        patched = transaction.patch(
            entry.type, identity, entry.patch, entry.if_match, names, patched=entry.patched
        )
        if patched.proposal is not None:
            return _proposal_result(patched.proposal)
        return EntryResult("200 OK", patched.version, written=True)
    if entry.id is None:
        return EntryResult("204 No Content")
    deleted = transaction.delete(entry.type, entry.id, entry.if_match)
    return EntryResult("204 No Content", deleted, written=True)


def _proposal_result(proposal: str) -> EntryResult:
    return EntryResult("202 Accepted", outcome=proposal_outcome(proposal))


def _read(
    connection: Connection, store: Store, access: Access, entry: Entry, options: ReadOptions
) -> EntryResult:
    target = entry.target or ReadTarget()
    without_body = entry.method == "HEAD"
    if target.is_metadata:
        return EntryResult("200 OK", target=target, without_body=without_body)
    if target.history:
        query = parse_history_query(target.pairs, lenient=options.lenient)
        history_page = history_on(connection, store, access, target.type, target.id, query)
        return EntryResult("200 OK", history=history_page, target=target, without_body=without_body)
    if target.id is None or target.type is None:
        page = _search(connection, store, access, target, options)
        return EntryResult("200 OK", page=page, target=target, without_body=without_body)
    if target.version is not None:
        version = vread_on(connection, access, target.type, target.id, target.version)
    else:
        version = read_on(connection, access, target.type, target.id, to_disclose=True)
    if is_not_modified(target, version.version, version.last_updated_ms):
        return EntryResult("304 Not Modified", version, without_body=True)
    return EntryResult("200 OK", version, without_body=without_body)


def _search(
    connection: Connection, store: Store, access: Access, target: ReadTarget, options: ReadOptions
) -> SearchPage:
    pairs, within, lenient, limits = target.pairs, target.within, options.lenient, options.limits
    if target.type is None:
        return search_types_on(
            connection, store, access, pairs, within=within, lenient=lenient, limits=limits
        )
    return search_on(
        connection, store, access, target.type, pairs, within=within, lenient=lenient, limits=limits
    )


def _raise_error(entry: Entry | EhrError) -> Entry:
    if isinstance(entry, EhrError):
        raise entry
    return entry


def _error_result(error: EhrError) -> EntryResult:
    return EntryResult(
        f"{error.status} {_PHRASES.get(error.status, 'Error')}", outcome=operation_outcome(error)
    )


def disclosed_versions(results: Sequence[EntryResult]) -> tuple[Version, ...]:
    """Return the versions that results disclose beside what their entries wrote."""
    shown: list[Version] = []
    for result in results:
        if result.page:
            shown += [*result.page.matches, *result.page.included]
        elif result.history:
            shown += [version for version, _ in result.history.versions]
        elif result.version and not result.written:
            shown.append(result.version)
    return tuple(shown)


_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    422: "Unprocessable Content",
}
