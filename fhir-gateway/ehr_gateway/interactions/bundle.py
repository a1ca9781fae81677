"""batch and transaction (R4 §3.1.0.11): many requests in one, each for itself or all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from ehr_fhir.errors import EhrError, Invalid, Issue, operation_outcome
from ehr_fhir.json_text import parse
from ehr_fhir.references import replace_references
from ehr_fhir.validation import validate
from ehr_gateway.access import Access
from ehr_gateway.bundle_conditions import check_criteria, existing, resolved
from ehr_gateway.bundle_entries import MOST_ENTRIES, Entry, entries_of
from ehr_gateway.database import Connection
from ehr_gateway.interactions.read import read_in
from ehr_gateway.interactions.search import SearchPage, search_in
from ehr_gateway.interactions.vread import vread_in
from ehr_gateway.store import AuditHook, Store, Version
from ehr_gateway.writing import Transaction, new_id, transaction

__all__ = ["BundleResult", "EntryResult", "bundle"]

T = TypeVar("T")

_NOTHING: Mapping[str, str] = MappingProxyType({})
# R4's order: what goes, what comes, what changes, and only then what is asked.
_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3}


@dataclass(frozen=True)
class EntryResult:
    """The answer to one entry: a version, a page, or an outcome."""

    status: str
    version: Version | None = None
    page: SearchPage | None = None
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
        return self.version.body or None if self.version else None


@dataclass(frozen=True)
class BundleResult:
    """The answers in the order of the entries; `read` is what was disclosed besides the writes."""

    type: str
    entries: tuple[EntryResult, ...]
    read: tuple[Version, ...] = field(default=())


def bundle(
    store: Store,
    access: Access,
    body: bytes,
    *,
    audit: AuditHook | None = None,
    most_entries: int = MOST_ENTRIES,
) -> BundleResult:
    """Carry out a Bundle of requests."""
    content = parse(body)
    if content.get("resourceType") != "Bundle":
        raise Invalid("The content must be a Bundle.", expression="resourceType")
    entries = entries_of(content, most_entries)
    if content.get("type") == "transaction":
        results = _transaction(store, access, entries, audit)
        return BundleResult("transaction-response", results, _disclosed(results))
    if content.get("type") == "batch":
        answers = tuple(_alone(store, access, entry, audit) for entry in entries)
        return BundleResult("batch-response", answers, _disclosed(answers))
    raise Invalid("Bundle.type must be batch or transaction.", expression="Bundle.type")


def _alone(
    store: Store, access: Access, entry: Entry | EhrError, audit: AuditHook | None
) -> EntryResult:
    if isinstance(entry, EhrError):
        return _failed(entry)
    try:
        if entry.method == "GET":
            with store.reading() as connection:
                return _read(connection, store, access, entry)
        with transaction(store, access, audit) as writing:
            if (version := existing(writing, entry)) is not None:
                return EntryResult("200 OK", version)
            return _write(writing, resolved(writing, entry), new_id())
    except EhrError as error:
        return _failed(error)


def _transaction(
    store: Store,
    access: Access,
    entries: Sequence[Entry | EhrError],
    audit: AuditHook | None,
) -> tuple[EntryResult, ...]:
    asked = [_sound(entry) for entry in entries]
    results: dict[str, EntryResult] = {}
    with transaction(store, access, audit) as writing:
        sound = [_placed(entry, lambda one: resolved(writing, one)) for entry in asked]
        ids, replacements, found = _identities(writing, sound)
        check_criteria(
            [pair for pair in zip(asked, sound, strict=True) if pair[1].place not in found]
        )
        for entry in sound:
            if entry.resource is not None:
                replace_references(entry.resource, replacements)
        results.update(found)
        for entry in sorted(sound, key=lambda one: _ORDER[one.method]):
            if entry.place not in results:
                results[entry.place] = _placed(
                    entry, lambda one: _step(writing, one, ids[one.place], replacements)
                )
    return tuple(results[entry.place] for entry in sound)


def _identities(
    writing: Transaction, entries: Sequence[Entry]
) -> tuple[dict[str, str], dict[str, str], dict[str, EntryResult]]:
    """Fix the id of every entry, so that entries may refer to each other in any order."""
    ids: dict[str, str] = {}
    replacements: dict[str, str] = {}
    found: dict[str, EntryResult] = {}
    seen: dict[tuple[str, str], str] = {}
    for entry in entries:
        identity = entry.id or new_id()
        version = _placed(entry, lambda one: existing(writing, one))
        if version is not None:
            found[entry.place] = EntryResult("200 OK", version)
            identity = version.id
        elif entry.method != "GET":
            first = seen.setdefault((entry.type, identity), entry.place)
            if first != entry.place:
                text = f"{entry.place} is of the same resource as {first}: it may be touched once."
                raise Invalid(text, expression=entry.place)
        ids[entry.place] = identity
        if entry.full_url and entry.method in ("POST", "PUT"):
            if entry.full_url in replacements:
                place = f"{entry.place}.fullUrl"
                raise Invalid(f"{place} is that of another entry too.", expression=place)
            replacements[entry.full_url] = f"{entry.type}/{identity}"
    _check_kept(entries, found)
    return ids, replacements, found


def _check_kept(entries: Sequence[Entry], found: Mapping[str, EntryResult]) -> None:
    """Refuse a DELETE of what a conditional create of the same transaction has found."""
    kept = {(one.version.type, one.version.id) for one in found.values() if one.version}
    for entry in entries:
        if entry.method == "DELETE" and (entry.type, entry.id) in kept:
            text = f"{entry.place} deletes what another entry's criteria have found."
            raise Invalid(text, expression=entry.place)


def _step(
    writing: Transaction, entry: Entry, identity: str, replacements: Mapping[str, str]
) -> EntryResult:
    if entry.method == "GET":
        return _read(writing.connection, writing.store, writing.access, entry)
    return _write(writing, entry, identity, replacements)


def _write(
    writing: Transaction,
    entry: Entry,
    identity: str,
    replacements: Mapping[str, str] = _NOTHING,
) -> EntryResult:
    if entry.method == "DELETE":
        if entry.id is None:
            return EntryResult("204 No Content")
        deleted = writing.delete(entry.type, entry.id, entry.if_match)
        return EntryResult("204 No Content", deleted, written=True)
    if entry.patch is not None:
        patched = writing.patch(
            entry.type, entry.id or "", entry.patch, entry.if_match, replacements
        )
        return EntryResult("200 OK", patched.version, written=True)
    validate(entry.content, entry.type)
    if entry.method == "POST":
        return EntryResult("201 Created", writing.create(entry.content, identity), written=True)
    result = writing.update(entry.content, entry.id or "", entry.if_match)
    status = "201 Created" if result.created else "200 OK"
    return EntryResult(status, result.version, written=True)


def _read(
    connection: Connection, store: Store, access: Access, entry: Entry
) -> EntryResult:
    if entry.id is None:
        page = search_in(connection, store, access, entry.type, entry.pairs)
        return EntryResult("200 OK", page=page)
    if entry.version is not None:
        version = vread_in(connection, access, entry.type, entry.id, entry.version)
    else:
        version = read_in(connection, access, entry.type, entry.id)
    return EntryResult("200 OK", version)


def _sound(entry: Entry | EhrError) -> Entry:
    if isinstance(entry, EhrError):
        raise entry
    return entry


def _placed(entry: Entry, act: Callable[[Entry], T]) -> T:
    try:
        return act(entry)
    except EhrError as error:
        _raise_at(error, entry.place)


def _raise_at(error: EhrError, place: str) -> NoReturn:
    issues = [
        Issue(
            f"{place}: {issue.diagnostics}",
            f"{place}.resource" if issue.expression else place,
            issue.code,
            issue.severity,
        )
        for issue in error.issues
    ]
    raise type(error)(issues[0].diagnostics, issues=issues) from None


def _failed(error: EhrError) -> EntryResult:
    return EntryResult(
        f"{error.status} {_PHRASES.get(error.status, 'Error')}", outcome=operation_outcome(error)
    )


def _disclosed(results: Sequence[EntryResult]) -> tuple[Version, ...]:
    shown: list[Version] = []
    for result in results:
        if result.page:
            shown += [*result.page.matches, *result.page.included]
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
