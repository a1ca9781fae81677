"""Parser of a line of the change feed: what changed, and the facts about it that consent needs.

Pure: bytes in, values out. Nothing is refused here; a line that cannot be read becomes an entry
with a fault, so that the quarantine can hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_fhir.errors import EhrError
from ehr_privacy.consent import record_facts
from ehr_privacy.consent.model import join_with_bars

METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class ConsentFacts:
    """What the consent rules read of a version (columns of silver).

    Its security labels are not among them: they depend on the label rules of the run (deid.py).
    """

    patients: tuple[str, ...] = ()
    domain: str | None = None
    episodes: str | None = None
    clinical_date: int | None = None
    directory: int = 0
    inner_domains: str | None = None
    author_people: str | None = None


@dataclass(frozen=True)
class FeedEntry:
    """One change: a version of a resource, or a fault; `key` names the line in quarantine."""

    key: str
    position: int | None = None
    type: str | None = None
    id: str | None = None
    version: int | None = None
    last_updated: str | None = None
    author: str | None = None
    deleted: bool = False
    facts: ConsentFacts = ConsentFacts()
    resource: str | None = None
    fault: str | None = None


class _FeedFault(ValueError):
    """The reason a line is not an entry of the feed."""


def parse_entry(line: str) -> FeedEntry:
    """Read one line of the feed; a fault names what is wrong with it, never a value."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _faulty_entry(line, None, "feed-line-is-not-json")
    if not isinstance(entry, dict):
        return _faulty_entry(line, None, "feed-line-is-not-an-object")
    position = entry.get("position")
    if not _is_integer(position):
        return _faulty_entry(line, None, "feed-position-missing")
    try:
        return _build_entry(line, entry)
    except _FeedFault as fault:
        return _faulty_entry(line, position, str(fault))
    except EhrError as error:
        place = error.issues[0].expression or "resource"
        return _faulty_entry(line, position, f"record-facts-failed-at-{place}")


def consent_facts(resource: Mapping[str, Any], author: str | None) -> ConsentFacts:
    """Return the facts of a version in the shape of silver's columns."""
    record = record_facts(resource, author)
    return ConsentFacts(
        patients=tuple(sorted(record.patients)),
        domain=record.domain,
        episodes=join_with_bars(record.episodes),
        clinical_date=record.clinical_ms,
        directory=int(record.directory),
        inner_domains=join_with_bars(record.inner_domains),
        author_people=join_with_bars(record.author_people),
    )


def _build_entry(line: str, entry: Mapping[str, Any]) -> FeedEntry:
    resource_type, resource_id = entry.get("type"), entry.get("id")
    version = entry.get("version")
    author, method = entry.get("author"), entry.get("method")
    if not (
        isinstance(resource_type, str) and isinstance(resource_id, str) and _is_integer(version)
    ):
        raise _FeedFault("feed-type-id-or-version-missing")
    if method not in METHODS:
        raise _FeedFault("feed-method-unknown")
    if author is not None and not isinstance(author, str):
        raise _FeedFault("feed-author-is-not-text")
    deleted = method == "DELETE"
    resource = None if deleted else _require_resource(entry, resource_type, resource_id)
    return FeedEntry(
        key=str(entry["position"]),
        position=entry["position"],
        type=resource_type,
        id=resource_id,
        version=version,
        last_updated=str(entry.get("lastUpdated")),
        author=author,
        deleted=deleted,
        facts=ConsentFacts() if resource is None else consent_facts(resource, author),
        resource=None if resource is None else _resource_text(line, resource),
    )


def _require_resource(
    entry: Mapping[str, Any], resource_type: str, resource_id: str
) -> Mapping[str, Any]:
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        raise _FeedFault("feed-resource-missing")
    if resource.get("resourceType") != resource_type or resource.get("id") != resource_id:
        raise _FeedFault("feed-resource-is-another")
    return resource


def _resource_text(line: str, resource: Mapping[str, Any]) -> str:
    """Cut the resource's own text out of the line: serialized anew, 1.10 would become 1.1."""
    start = line.find('"resource":') + len('"resource":')
    text = line[start : line.rstrip().rfind("}")].strip()
    try:
        if orjson.loads(text) == resource:
            return text
    except orjson.JSONDecodeError:
        # The resource was not the last member of the line.
        pass
    return orjson.dumps(resource).decode()


def _faulty_entry(line: str, position: int | None, fault: str) -> FeedEntry:
    key = hashlib.sha256(line.encode()).hexdigest() if position is None else str(position)
    return FeedEntry(key=key, position=position, resource=line, fault=fault)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
