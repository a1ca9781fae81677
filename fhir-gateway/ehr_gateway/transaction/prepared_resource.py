"""A resource made ready to be stored: validated, indexed, its consent facts known. Pure.

All of it is done before the writer's lock is taken, and once. Version and time are known only
inside the transaction, so the body is kept in two parts around them; so is what the references by
search find, so a resource that holds one waits as a draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ehr_fhir.index.full_text import FullText, extract_full_text
from ehr_fhir.index.rows import IndexRow, extract_rows
from ehr_fhir.intervals import instant
from ehr_fhir.json_text import serialize
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import list_references, replace_references, split_conditional_reference
from ehr_fhir.validation.validate import validate
from ehr_gateway.access import Access
from ehr_privacy.consent import Record, RuleRow, record_facts, rule_rows

__all__ = [
    "Draft",
    "PreparedResource",
    "join_body",
    "prepare_resource",
    "source_author",
    "validate_draft",
]

_AUTHOR_BASE = f"{JURISDICTION.base}/organization/"


@dataclass(frozen=True)
class PreparedResource:
    """All that one version puts into the store, but its number and its time."""

    record: Record
    meta: bytes
    content: bytes
    rows: tuple[IndexRow, ...]
    words: FullText
    rules: tuple[RuleRow, ...]
    references: tuple[tuple[str, str], ...]
    contained: frozenset[str] = frozenset()

    def body(self, version: int, last_updated_ms: int) -> bytes:
        """Return the bytes that are stored and served."""
        return join_body(self.record, self.meta, self.content, version, last_updated_ms)


@dataclass(frozen=True)
class Draft:
    """A validated resource under its id; what it puts into the store is worked out once."""

    resource: dict[str, Any]
    author: str | None
    # References by search are known only inside the transaction, and all that hangs on them.
    has_conditional_references: bool
    # Where it stands in what was sent, for errors; empty where it was sent alone.
    path: str = ""
    # The places of its references and what they say, where they are known already.
    references: tuple[tuple[str, str], ...] | None = None

    @property
    def type(self) -> str:
        """The resource type."""
        return str(self.resource["resourceType"])

    @property
    def id(self) -> str:
        """The id under which it is to be stored."""
        return str(self.resource["id"])

    @cached_property
    def prepared(self) -> PreparedResource:
        """Return everything the store keeps of the resource as it stands now."""
        return _prepare(self.resource, self.author, self.path, self.references)

    def with_id(self, identity: str) -> Draft:
        """Return the same resource under another id.

        >>> draft = Draft({"resourceType": "Basic", "id": "a"}, None, False)
        >>> draft.with_id("b").id
        'b'
        """
        if self.resource["id"] == identity:
            return self
        return replace(self, resource={**self.resource, "id": identity})

    def prepare_for(self, author: str | None) -> PreparedResource:
        """Return what the store keeps, for the author whose record it is."""
        if author == self.author:
            return self.prepared
        return replace(self.prepared, record=replace(self.prepared.record, author=author))


def validate_draft(
    resource: dict[str, Any],
    identity: str,
    access: Access,
    expected_type: str | None = None,
    *,
    has_conditional_references: bool = False,
    path: str = "",
) -> Draft:
    """Validate a resource that is to be stored under an id, and work out what can be now.

    Absolute references to this server become relative: else a record could name its patient in a
    form that no rule looks for.
    """
    validate(resource, expected_type)
    found = tuple(list_references(resource, path))
    own = f"{access.base}/"
    if access.base and any(one.startswith(own) for _, one in found):
        replace_references(resource, {one: one.removeprefix(own) for _, one in found})
        found = tuple((where, one.removeprefix(own)) for where, one in found)
    has_conditional_references = has_conditional_references or any(
        split_conditional_reference(one) for _, one in found
    )
    draft = Draft(
        {**resource, "id": identity},
        access.author,
        has_conditional_references,
        path,
        None if has_conditional_references else found,
    )
    if not has_conditional_references:
        # Asked for here, so that it is not worked out while others wait for the lock.
        _ = draft.prepared
    return draft


def join_body(
    record: Record, meta: bytes, content: bytes, version: int, last_updated_ms: int
) -> bytes:
    """Join the parts of a body around its version and time."""
    head = (
        f'{{"resourceType":"{record.type}","id":"{record.id}","meta":'
        f'{{"versionId":"{version}","lastUpdated":"{instant(last_updated_ms)}"'
    )
    return b"".join((head.encode(), meta, content))


def source_author(resource: Mapping[str, Any]) -> str | None:
    """Return the organisation that `meta.source` names as the author, if it does.

    >>> source_author({"meta": {"source": "https://ehr-commons.hk/organization/st-gabriel"}})
    'st-gabriel'
    """
    meta = resource.get("meta")
    source = meta.get("source") if isinstance(meta, Mapping) else None
    if isinstance(source, str) and source.startswith(_AUTHOR_BASE):
        return source.removeprefix(_AUTHOR_BASE)
    return None


def prepare_resource(resource: Mapping[str, Any], author: str | None) -> PreparedResource:
    """Validate a resource that has its id, and work out everything the store keeps of it."""
    validate(resource)
    return _prepare(resource, author)


def _prepare(
    resource: Mapping[str, Any],
    author: str | None,
    path: str = "",
    found: tuple[tuple[str, str], ...] | None = None,
) -> PreparedResource:
    meta = {
        key: value
        for key, value in resource.get("meta", {}).items()
        if key not in ("versionId", "lastUpdated", "_versionId", "_lastUpdated")
    }
    content = {
        key: value for key, value in resource.items() if key not in ("resourceType", "id", "meta")
    }
    return PreparedResource(
        record=record_facts(resource, author),
        meta=_serialize_tail(meta),
        content=_serialize_tail(content),
        rows=tuple(extract_rows({**resource, "meta": meta})),
        words=extract_full_text(resource),
        rules=tuple(rule_rows(resource)),
        references=tuple(list_references(resource, path)) if found is None else found,
        contained=frozenset(_contained_names(resource)),
    )


def _contained_names(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a resource's references may name inside it; a Bundle kept as data holds more."""
    for inner in resource.get("contained", ()):
        yield inner.get("id", "")
    for entry in resource.get("entry", ()) if resource["resourceType"] == "Bundle" else ():
        yield entry.get("fullUrl", "")
        if inner := entry.get("resource"):
            yield from _contained_names(inner)


def _serialize_tail(part: Mapping[str, Any]) -> bytes:
    """Serialize an object so that it continues one already begun.

    >>> _serialize_tail({"status": "final"}), _serialize_tail({})
    (b',"status":"final"}', b'}')
    """
    text = serialize(part)
    return b"," + text[1:] if part else text[1:]
