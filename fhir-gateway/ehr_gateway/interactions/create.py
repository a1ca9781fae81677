"""create: a new resource under an id of the server's (R4 §3.1.0.8)."""

from __future__ import annotations

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.conditional import only_match
from ehr_gateway.ids import new_id
from ehr_gateway.interactions.read import read_in
from ehr_gateway.prepared import drafted
from ehr_gateway.store import AuditHook, Store, Version
from ehr_gateway.writing import WriteResult, transaction

__all__ = ["create", "create_if_none"]


def create(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    *,
    audit: AuditHook | None = None,
) -> Version:
    """Store a new resource; an id that the client sent is not kept."""
    draft = drafted(parse(body), new_id(), access, resource_type)
    with transaction(store, access, audit) as writing:
        return writing.create(draft)


def create_if_none(
    store: Store,
    access: Access,
    resource_type: str,
    body: bytes,
    criteria: str,
    *,
    audit: AuditHook | None = None,
) -> WriteResult:
    """Store a new resource unless one that the requester can find meets the criteria."""
    draft = drafted(parse(body), new_id(), access, resource_type)
    with transaction(store, access, audit) as writing:
        found = only_match(writing, resource_type, criteria)
        if found is None:
            return WriteResult(writing.create(draft), created=True)
        # By the rule of searching, since it was found by one.
        existing = read_in(writing.connection, access, resource_type, found, "search")
        return WriteResult(existing, created=False)
