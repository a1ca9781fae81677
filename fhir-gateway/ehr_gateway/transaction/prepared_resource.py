"""Prepare a resource for storing: validate it, extract index rows and the facts of consent. Pure.

All of it is done once, before the writer's lock is taken. The version number and the time are known
only inside the transaction, so the body is kept as two parts around them. The ids that conditional
references find are known only there too, so a resource with such references is prepared there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Unprocessable
from ehr_fhir.index.full_text import FullText, extract_full_text
from ehr_fhir.index.rows import IndexRow, extract_rows
from ehr_fhir.json_text import serialize
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import relative_reference, split_conditional_reference
from ehr_fhir.resource_links import CONTAINERS, list_references, replace_references
from ehr_fhir.validation.validate import validate
from ehr_gateway.access import Access
from ehr_gateway.interaction_codes import NOT_WRITTEN
from ehr_gateway.store.inheritance import unindexed_references
from ehr_privacy.consent import (
    Record,
    RuleRow,
    record_facts,
    rule_rows,
    state_patients,
    stored_rule_rows,
)
from ehr_privacy.consent.inherited_facts import FactTargets, fact_targets

__all__ = [
    "Draft",
    "PreparedResource",
    "join_body",
    "prepare_draft",
    "prepare_resource",
    "prepare_stored",
    "source_author",
    "with_source",
]

_AUTHOR_BASE = f"{JURISDICTION.base}/organization/"
_CLIENT_BASE = f"{JURISDICTION.base}/client/"


@dataclass(frozen=True)
class PreparedResource:
    """All that one version puts into the store except its number and its time."""

    record: Record
    meta: bytes
    content: bytes
    rows: tuple[IndexRow, ...]
    words: FullText
    rules: tuple[RuleRow, ...]
    # (path, reference) of each of its references.
    references: tuple[tuple[str, str], ...]
    # The ids of its contained resources, which its references may name.
    contained: frozenset[str] = frozenset()

    @cached_property
    def fact_targets(self) -> FactTargets:
        """The resources that the record inherits facts from."""
        return fact_targets(self.record, self.references)

    def body(self, version: int, last_updated_ms: int) -> bytes:
        """Return the bytes that are stored and served."""
        return join_body(self.record, self.meta, self.content, version, last_updated_ms)


@dataclass(frozen=True)
class Draft:
    """A validated resource under its id."""

    resource: dict[str, Any]
    author: str | None
    # Whether references by search remain, which only the transaction can resolve.
    has_conditional_references: bool
    # Its path in the request's content, for errors; empty where it is the whole content.
    path: str = ""
    # (path, reference) of each of its references; None until all of them are resolved.
    references: tuple[tuple[str, str], ...] | None = None
    # The program that sent it: the source of what has no organisation as its author.
    client: str = ""

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
        """Prepare the resource as it stands now, once."""
        return self._prepare_as(self.author)

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
        """Return the prepared resource with the organisation that is the record's author."""
        return self.prepared if author == self.author else self._prepare_as(author)

    def _prepare_as(self, author: str | None) -> PreparedResource:
        resource = with_source(self.resource, author, self.client)
        return _prepare(resource, author, self.path, self.references)


def prepare_draft(
    resource: dict[str, Any],
    identity: str,
    access: Access,
    expected_type: str | None = None,
    *,
    has_conditional_references: bool = False,
    path: str = "",
) -> Draft:
    """Validate a resource under an id and, unless references remain open, prepare it.

    Absolute references to this server become relative: the rules of consent look for relative ones,
    so a record could otherwise name its patient in a form that no rule matches. In a container (a
    Bundle or Parameters stored as data) nothing is changed; whose it is stands in its `meta`.
    """
    validate(resource, expected_type)
    _check_type_is_written(resource)
    if access.check_content is not None:
        access.check_content(resource, access.now_ms)
    references = tuple(list_references(resource, path))
    if access.base and resource["resourceType"] in CONTAINERS:
        resource = state_patients(resource, access.base)
    relative = {
        reference: relative_reference(reference, access.base)
        for _, reference in references
        if reference.startswith("http")
    }
    if any(reference != name for name, reference in relative.items()):
        replace_references(resource, relative)
        references = tuple((at, relative.get(name, name)) for at, name in references)
    has_conditional_references = has_conditional_references or any(
        split_conditional_reference(reference) for _, reference in references
    )
    draft = Draft(
        {**resource, "id": identity},
        access.author,
        has_conditional_references,
        path,
        None if has_conditional_references else references,
        access.client,
    )
    if not has_conditional_references:
        # Evaluated now, before the lock is taken: the property is cached.
        _ = draft.prepared
    return draft


def join_body(
    record: Record, meta: bytes, content: bytes, version: int, last_updated_ms: int
) -> bytes:
    """Return the bytes that are stored and served: the parts joined around version and time."""
    head = (
        f'{{"resourceType":"{record.type}","id":"{record.id}","meta":'
        f'{{"versionId":"{version}","lastUpdated":"{format_instant(last_updated_ms)}"'
    )
    return b"".join((head.encode(), meta, content))


def source_author(resource: Mapping[str, Any]) -> str | None:
    """Return the organisation that `meta.source` names as the author, if it does.

    >>> source_author({"meta": {"source": "https://ehr-commons.hk/organization/st-gabriel#x"}})
    'st-gabriel'
    """
    source = _source_of(resource)
    if source.startswith(_AUTHOR_BASE):
        return source.removeprefix(_AUTHOR_BASE).partition("#")[0]
    return None


def with_source(resource: dict[str, Any], author: str | None, client: str) -> dict[str, Any]:
    """Return a resource whose `meta.source` names its author, or the program that sent it.

    R4 lets a server alter this element and asks it to refrain; here it is what pages call "written
    by", so it is the server's to say. What a sender calls its own source stays, as the fragment.

    >>> with_source({"meta": {"source": "urn:lis:7"}}, "ha-a", "lis")["meta"]
    {'source': 'https://ehr-commons.hk/organization/ha-a#urn:lis:7'}
    >>> with_source({}, None, "portal")["meta"]
    {'source': 'https://ehr-commons.hk/client/portal'}
    """
    if author:
        own = f"{_AUTHOR_BASE}{author}"
    elif client:
        own = f"{_CLIENT_BASE}{client}"
    else:
        return resource
    sent = _source_of(resource)
    if sent == own or sent.startswith(f"{own}#"):
        return resource
    is_ours = not sent or sent.startswith((_AUTHOR_BASE, _CLIENT_BASE))
    # A URI has one fragment (RFC 3986 §3.5).
    source = own if is_ours else f"{own}#{sent.replace('#', '%23')}"
    meta = {key: value for key, value in resource.get("meta", {}).items() if key != "_source"}
    return {**resource, "meta": {**meta, "source": source}}


def _source_of(resource: Mapping[str, Any]) -> str:
    meta = resource.get("meta")
    source = meta.get("source") if isinstance(meta, Mapping) else None
    return source if isinstance(source, str) else ""


def prepare_resource(resource: Mapping[str, Any], author: str | None) -> PreparedResource:
    """Validate and prepare a resource that has its id and no open references."""
    validate(resource)
    _check_type_is_written(resource)
    return _prepare(with_source(dict(resource), author, ""), author)


def prepare_stored(resource: Mapping[str, Any], author: str | None) -> PreparedResource:
    """Prepare a version anew that was validated when it was first stored."""
    return _prepare(resource, author, read_rules=stored_rule_rows)


def _check_type_is_written(resource: Mapping[str, Any]) -> None:
    """Refuse a type that would be stored and promise what this server does not do."""
    kind = str(resource["resourceType"])
    if kind in NOT_WRITTEN:
        raise Unprocessable(NOT_WRITTEN[kind], expression=kind, issue_code="not-supported")


def _prepare(
    resource: Mapping[str, Any],
    author: str | None,
    path: str = "",
    references: tuple[tuple[str, str], ...] | None = None,
    read_rules: Callable[[Mapping[str, Any]], list[RuleRow]] = rule_rows,
) -> PreparedResource:
    # Version and time in `meta` are the server's own: `join_body` puts them in.
    meta = {
        key: value
        for key, value in resource.get("meta", {}).items()
        if key not in ("versionId", "lastUpdated", "_versionId", "_lastUpdated")
    }
    content = {
        key: value for key, value in resource.items() if key not in ("resourceType", "id", "meta")
    }
    # First, for it refuses what no database takes: integers beyond 64 bits.
    content_bytes, meta_bytes = _serialize_tail(content), _serialize_tail(meta)
    if references is None:
        references = tuple(list_references(resource, path))
    names = [reference for _, reference in references]
    rows = extract_rows({**resource, "meta": meta})
    return PreparedResource(
        record=record_facts(resource, author, references=names),
        meta=meta_bytes,
        content=content_bytes,
        rows=(*rows, *unindexed_references(resource["resourceType"], names, rows)),
        words=extract_full_text(resource),
        rules=tuple(read_rules(resource)),
        references=references,
        contained=frozenset(inner.get("id", "") for inner in resource.get("contained", ())),
    )


def _serialize_tail(part: Mapping[str, Any]) -> bytes:
    """Serialize an object without its opening brace, to continue an object already begun.

    >>> _serialize_tail({"status": "final"}), _serialize_tail({})
    (b',"status":"final"}', b'}')
    """
    text = serialize(part)
    return b"," + text[1:] if part else text[1:]
