"""Conditional interactions (R4 §3.1.0.4.3, §3.1.0.6.1, §3.1.0.7.1): criteria in the place of an id.

Criteria match what the requester can find, inside the write transaction that acts on the match, so
no other write can come in between. A hidden resource counts as absent: a conditional create beside
a hidden match creates a resource, as it does when nothing matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_fhir.errors import Conflict, Invalid, PreconditionFailed
from ehr_gateway.transaction.integrity import find_ids
from ehr_gateway.transaction.transaction import Transaction

__all__ = ["find_only_match", "find_update_target"]


def find_only_match(transaction: Transaction, kind: str, criteria: str) -> str | None:
    """Return the id of the only match, None if there is none; refuse several."""
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
    """Return the id that a conditional update writes to, None if the server must choose one."""
    match, sent_id = find_only_match(transaction, kind, criteria), resource.get("id")
    if match is not None:
        if sent_id not in (None, match):
            text = "The `id` in the content is not that of the resource that meets the criteria."
            raise Invalid(text, expression=f"{kind}.id")
        return match
    if if_match is not None:
        raise PreconditionFailed("If-Match names a version, but nothing meets the criteria.")
    if sent_id is not None and transaction.is_present(kind, str(sent_id)):
        # R4 leaves this open; R5 refuses to overwrite a resource that the criteria do not match.
        text = "The resource with this `id` does not meet the criteria."
        raise Conflict(text, expression=f"{kind}.id")
    return sent_id
