"""A resource made ready to be stored: validated, indexed, its consent facts known. Pure.

Version and time are known only inside the transaction, so the body is kept in two parts around
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.index import IndexRow, extract
from ehr_fhir.intervals import instant
from ehr_fhir.json_text import serialize
from ehr_fhir.references import references
from ehr_fhir.validation import validate
from ehr_privacy.consent import Record, RuleRow, record_facts, rule_rows

__all__ = ["Prepared", "body_of", "named_author", "prepare"]

_AUTHOR = "https://ehr-commons.hk/organization/"


@dataclass(frozen=True)
class Prepared:
    """All that one version puts into the store, but its number and its time."""

    record: Record
    meta: bytes
    content: bytes
    rows: tuple[IndexRow, ...]
    rules: tuple[RuleRow, ...]
    references: tuple[tuple[str, str], ...]
    contained: frozenset[str] = frozenset()

    def body(self, version: int, last_updated_ms: int) -> bytes:
        """Return the bytes that are stored and served."""
        return body_of(self.record, self.meta, self.content, version, last_updated_ms)


def body_of(
    record: Record, meta: bytes, content: bytes, version: int, last_updated_ms: int
) -> bytes:
    """Join the parts of a body around its version and time."""
    head = (
        f'{{"resourceType":"{record.type}","id":"{record.id}","meta":'
        f'{{"versionId":"{version}","lastUpdated":"{instant(last_updated_ms)}"'
    )
    return b"".join((head.encode(), meta, content))


def named_author(resource: Mapping[str, Any]) -> str | None:
    """Return the organisation that `meta.source` names as the author, if it does.

    >>> named_author({"meta": {"source": "https://ehr-commons.hk/organization/st-gabriel"}})
    'st-gabriel'
    """
    meta = resource.get("meta")
    source = meta.get("source") if isinstance(meta, Mapping) else None
    if isinstance(source, str) and source.startswith(_AUTHOR):
        return source.removeprefix(_AUTHOR)
    return None


def prepare(resource: Mapping[str, Any], author: str | None) -> Prepared:
    """Validate a resource that has its id, and work out everything the store keeps of it."""
    validate(resource)
    meta = {
        key: value
        for key, value in resource.get("meta", {}).items()
        if key not in ("versionId", "lastUpdated", "_versionId", "_lastUpdated")
    }
    content = {
        key: value for key, value in resource.items() if key not in ("resourceType", "id", "meta")
    }
    return Prepared(
        record=record_facts(resource, author),
        meta=_tail(meta),
        content=_tail(content),
        rows=tuple(extract({**resource, "meta": meta})),
        rules=tuple(rule_rows(resource)),
        references=tuple(references(resource)),
        contained=frozenset(inner.get("id", "") for inner in resource.get("contained", ())),
    )


def _tail(part: Mapping[str, Any]) -> bytes:
    """Serialize an object so that it continues one already begun.

    >>> _tail({"status": "final"}), _tail({})
    (b',"status":"final"}', b'}')
    """
    text = serialize(part)
    return b"," + text[1:] if part else text[1:]
