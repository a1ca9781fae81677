"""Conditional interactions (R4 §3.1.0.4.3, §3.1.0.6.1, §3.1.0.7.1): criteria in the place of an id.

Criteria find what the requester may find, inside the write transaction that acts on it: no other
write can come in between. What is hidden counts as absent, so a conditional create beside a hidden
match makes a new resource, as it does beside none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_fhir.errors import Conflict, Invalid, PreconditionFailed
from ehr_gateway.transaction.integrity import find_ids
from ehr_gateway.transaction.transaction import Transaction

__all__ = ["find_only_match", "find_update_target"]


def find_only_match(transaction: Transaction, kind: str, criteria: str) -> str | None:
    """Return the id of the one match, or nothing; refuse several."""
    ids = find_ids(transaction, kind, criteria)
    if len(ids) > 1:
        raise PreconditionFailed("More than one resource meets the criteria; narrow them.")
    return ids[0] if ids else None


def find_update_target(
    transaction: Transaction,
    kind: str,
    resource: Mapping[str, Any],
    criteria: str,
    if_match: int | None,
) -> str | None:
    """Return the id under which an update is written; nothing where a new id has to be made."""
    found, named = find_only_match(transaction, kind, criteria), resource.get("id")
    if found is not None:
        if named not in (None, found):
            text = "The `id` in the content is not that of the resource that meets the criteria."
            raise Invalid(text, expression=f"{kind}.id")
        return found
    if if_match is not None:
        raise PreconditionFailed("If-Match names a version, but nothing meets the criteria.")
    if named is not None and transaction.is_present(kind, str(named)):
        # As R5 has it: what does not meet the criteria is not overwritten.
        text = "The resource with this `id` does not meet the criteria."
        raise Conflict(text, expression=f"{kind}.id")
    return named
