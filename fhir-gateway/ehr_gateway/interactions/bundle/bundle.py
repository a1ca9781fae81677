"""batch and transaction (R4 §3.1.0.11): many requests in one, each for itself or all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ehr_fhir.errors import EhrError, Invalid, operation_outcome
from ehr_fhir.json_text import parse
from ehr_fhir.references import EntryNames, Replacements
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
    parse_entries,
    run_for_entry,
)
from ehr_gateway.interactions.bundle.reads import ReadTarget, is_not_modified
from ehr_gateway.interactions.history import HistoryPage, history_on, parse_history_query
from ehr_gateway.interactions.vread import vread_on
from ehr_gateway.search.across_types import search_types_on
from ehr_gateway.search.page import SearchPage, search_on
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.store import AuditHook, Store, Version
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.integrity import UnmatchedReference
from ehr_gateway.transaction.transaction import Transaction, open_transaction

__all__ = ["BundleResult", "EntryResult", "ReadOptions", "process_bundle"]

_NO_REPLACEMENTS: Mapping[str, str] = MappingProxyType({})
# How often entries that search for each other are tried.
_MAX_ROUNDS = 8


@dataclass(frozen=True)
class EntryResult:
    """The answer to one entry: a version, a page, or an outcome."""

    status: str
    version: Version | None = None
    page: SearchPage | None = None
    history: HistoryPage | None = None
    # What was read, where it was a page; only its head, where it was a HEAD.
    target: ReadTarget | None = None
    without_body: bool = False
    outcome: dict[str, Any] | None = None
    # Whether the entry wrote the version, rather than found it.
    written: bool = False

    @property
    def location(self) -> str | None:
        """Return the address of the version, below the base."""
        one = self.version
        return f"{one.type}/{one.id}/_history/{one.version}" if one else None

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
        """Return the bytes of the resource, unless there are none to show."""
        return self.version.body or None if self.version and not self.without_body else None


@dataclass(frozen=True)
class BundleResult:
    """The answers in the order of the entries; `read` is what was disclosed besides the writes."""

    type: str
    entries: tuple[EntryResult, ...]
    read: tuple[Version, ...] = field(default=())


@dataclass(frozen=True)
class ReadOptions:
    """How the entries are to be read: what `Prefer: handling` says, and the terms of a search."""

    lenient: bool = False
    limits: SearchLimits | None = None


def process_bundle(
    store: Store,
    access: Access,
    body: bytes,
    *,
    audit: AuditHook | None = None,
    most_entries: int = MAX_ENTRIES,
    options: ReadOptions | None = None,
) -> BundleResult:
    """Carry out a Bundle of requests."""
    options = options or ReadOptions()
    content = parse(body)
    if content.get("resourceType") != "Bundle":
        raise Invalid("The content must be a Bundle.", expression="resourceType")
    entries = parse_entries(content, most_entries)
    if content.get("type") == "transaction":
        results = _process_transaction(store, access, entries, audit, options)
        return BundleResult("transaction-response", results, _disclosed_versions(results))
    if content.get("type") == "batch":
        answers = tuple(_process_alone(store, access, entry, audit, options) for entry in entries)
        return BundleResult("batch-response", answers, _disclosed_versions(answers))
    raise Invalid("Bundle.type must be batch or transaction.", expression="Bundle.type")


def _process_alone(
    store: Store,
    access: Access,
    entry: Entry | EhrError,
    audit: AuditHook | None,
    options: ReadOptions,
) -> EntryResult:
    if isinstance(entry, EhrError):
        return _error_result(entry)
    try:
        if entry.method in READS:
            with store.read_transaction() as connection:
                return _read(connection, store, access, entry, options)
        (ready,) = prepare_entries(store, access, [entry])
        with open_transaction(store, access, audit) as transaction:
            if (version := find_existing(transaction, ready)) is not None:
                return EntryResult("200 OK", version)
            return _write(transaction, resolve_criteria(transaction, ready))
    except EhrError as error:
        return _error_result(error)


def _process_transaction(
    store: Store,
    access: Access,
    entries: Sequence[Entry | EhrError],
    audit: AuditHook | None,
    options: ReadOptions,
) -> tuple[EntryResult, ...]:
    asked = prepare_entries(store, access, [_raise_error(entry) for entry in entries])
    with open_transaction(store, access, audit) as transaction:
        sound = [
            run_for_entry(entry, lambda one: resolve_criteria(transaction, one)) for entry in asked
        ]
        found = _find_all_existing(transaction, sound)
        sound = [one._replace(id=found[one.path].id) if one.path in found else one for one in sound]
        _check_no_overlap(sound, found)
        check_distinct_criteria(
            [pair for pair in zip(asked, sound, strict=True) if pair[1].path not in found]
        )
        known = references_by_full_url(sound)
        replace_late_references(sound, known)
        results = {path: EntryResult("200 OK", version) for path, version in found.items()}
        rest = [one for one in sound if one.path not in found]
        results |= _write_entries(transaction, sort_writes(rest), EntryNames(known))
        for one in rest:
            if one.method in READS:
                results[one.path] = run_for_entry(
                    one, lambda entry: _read(transaction.connection, store, access, entry, options)
                )
    return tuple(results[entry.path] for entry in sound)


def _write_entries(
    transaction: Transaction, entries: Sequence[Entry], names: EntryNames
) -> dict[str, EntryResult]:
    """Write the entries; a reference by search may find what an entry further on makes."""
    results: dict[str, EntryResult] = {}
    for rounds_left in reversed(range(_MAX_ROUNDS)):
        postponed: list[Entry] = []
        for entry in entries:
            try:
                results[entry.path] = run_for_entry(
                    entry, lambda one: _write(transaction, one, names)
                )
            except UnmatchedReference:
                # Nothing of this entry is written yet. A whole round for nothing is the end.
                if not rounds_left or len(postponed) + 1 == len(entries):
                    raise
                postponed.append(entry)
        entries = postponed
    return results


def _find_all_existing(transaction: Transaction, entries: Sequence[Entry]) -> dict[str, Version]:
    found = {
        entry.path: run_for_entry(entry, lambda one: find_existing(transaction, one))
        for entry in entries
    }
    return {path: version for path, version in found.items() if version is not None}


def _check_no_overlap(entries: Sequence[Entry], found: Mapping[str, Version]) -> None:
    """Refuse a transaction that touches a resource twice, or deletes what it has found."""
    seen: dict[tuple[str, str | None], str] = {}
    for entry in entries:
        if entry.method in READS or entry.path in found:
            continue
        first = seen.setdefault((entry.type, entry.id), entry.path)
        if first != entry.path and entry.id is not None:
            text = f"{entry.path} is of the same resource as {first}: it may be touched once."
            raise Invalid(text, expression=entry.path)
    _check_not_deleted(entries, found)


def _check_not_deleted(entries: Sequence[Entry], found: Mapping[str, Version]) -> None:
    kept = {(version.type, version.id) for version in found.values()}
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
    status = "201 Created" if result.created else "200 OK"
    return EntryResult(status, result.version, written=True)


def _delete_or_patch(transaction: Transaction, entry: Entry, names: Replacements) -> EntryResult:
    if entry.patch is not None:
        identity = entry.id or ""
        patched = transaction.patch(
            entry.type, identity, entry.patch, entry.if_match, names, patched=entry.patched
        )
        return EntryResult("200 OK", patched.version, written=True)
    if entry.id is None:
        return EntryResult("204 No Content")
    deleted = transaction.delete(entry.type, entry.id, entry.if_match)
    return EntryResult("204 No Content", deleted, written=True)


def _read(
    connection: Connection, store: Store, access: Access, entry: Entry, options: ReadOptions
) -> EntryResult:
    target = entry.target or ReadTarget()
    without_body = entry.method == "HEAD"
    if target.history:
        wanted = parse_history_query(target.pairs, lenient=options.lenient)
        past = history_on(connection, store, access, target.type, target.id, wanted)
        return EntryResult("200 OK", history=past, target=target, without_body=without_body)
    if target.id is None or target.type is None:
        page = _search(connection, store, access, target, options)
        return EntryResult("200 OK", page=page, target=target, without_body=without_body)
    if target.version is not None:
        version = vread_on(connection, access, target.type, target.id, target.version)
    else:
        version = read_on(connection, access, target.type, target.id)
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


def _disclosed_versions(results: Sequence[EntryResult]) -> tuple[Version, ...]:
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
